"""A net for a batch finds in each image what the net for one finds in it alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.model import Caffe2Model, RuntimeName
from roastery.caffe2.nets import load_nets, net_argument
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.config import load_config
from roastery.data.preprocess import pad_and_batch, read_image, resize_shortest_edge
from roastery.evaluation.parity import compare_detections, compare_instances

KINDS = (
    *((model, False) for model in ("keypoint_rcnn_fpn", "mask_rcnn_fpn", "panoptic_fpn")),
    ("retinanet_fpn", False),
    ("retinanet_fpn", True),
)
RUNTIMES = ("torch", pytest.param("caffe2", marks=pytest.mark.caffe2))
_RUNTIME_TYPES = {"torch": TorchRuntime, "caffe2": Caffe2Runtime}
BATCH = 3
PER_ROW = ("bbox_nms", "score_nms", "class_nms", "mask_fcn_probs", "kps_score")

Outputs = dict[str, NDArray[Any]]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}{'-decoded' if kind[1] else ''}")
def kind(request: pytest.FixtureRequest) -> tuple[str, bool]:
    found: tuple[str, bool] = request.param
    return found


@pytest.fixture(scope="module")
def config(shapes: Path, kind: tuple[str, bool]) -> Any:
    return load_config(shapes / kind[0] / "config.yaml")


@pytest.fixture(scope="module")
def images(shapes: Path, config: Any) -> list[torch.Tensor]:
    """Of three sizes, padded and not; in the second nothing is found."""
    pictures = [read_image(shapes / "val" / "images" / f"{number:06d}.jpg") for number in (2, 5)]
    first, last = (resize_shortest_edge(picture, 160, 256).transpose(2, 0, 1).copy() for picture in pictures)
    plain = torch.tensor(config.MODEL.PIXEL_MEAN).reshape(3, 1, 1).expand(3, 100, 224)
    return [torch.from_numpy(first).float(), plain, torch.from_numpy(last[:, :131, :140].copy()).float()]


def of_image(outputs: Outputs, index: int) -> Outputs:
    """The part of a batch's outputs that is of one image, as the net for one image gives it."""
    if "batch_splits" not in outputs:
        return {name: array[index : index + 1] for name, array in outputs.items()}
    splits = outputs["batch_splits"].astype(int)
    start = splits[:index].sum()
    rows = slice(start, start + splits[index])
    others = {name: array[index : index + 1] for name, array in outputs.items() if name not in PER_ROW}
    del others["batch_splits"]
    return {name: outputs[name][rows] for name in PER_ROW if name in outputs} | others


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_each_image_of_a_batch_gives_what_it_gives_alone(
    converted: Callable[..., Path], kind: tuple[str, bool], config: Any, images: list[torch.Tensor], runtime: str
) -> None:
    model, decode = kind
    data, im_info = (tensor.numpy() for tensor in pad_and_batch(images, 32, config.MODEL.PIXEL_MEAN))
    assert len({tuple(image.shape) for image in images}) == BATCH
    together, alone = (load_nets(converted(model, decode=decode, batch=size)) for size in (BATCH, 1))
    with _RUNTIME_TYPES[runtime](together) as batched, _RUNTIME_TYPES[runtime](alone) as single:
        outputs = batched.run({"data": data, "im_info": im_info})
        for index in range(BATCH):
            place = slice(index, index + 1)
            expected = single.run({"data": data[place], "im_info": im_info[place]})
            report = compare_detections(expected, of_image(outputs, index))
            assert report.differences == (), f"image {index}"
    raw = model == "retinanet_fpn" and not decode
    assert ("batch_splits" in outputs) is not raw
    if not raw:
        assert (outputs["batch_splits"].shape, outputs["batch_splits"].dtype) == ((BATCH,), np.float32)
        assert outputs["batch_splits"][1] == 0 < min(outputs["batch_splits"][[0, 2]])
        assert outputs["batch_splits"].sum() == len(outputs["score_nms"])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_model_finds_in_each_image_what_it_finds_in_it_alone(
    converted: Callable[..., Path],
    kind: tuple[str, bool],
    images: list[torch.Tensor],
    runtime: RuntimeName,
) -> None:
    """Whatever is in the list beside it: images of another padded size go into another batch."""
    model, decode = kind
    inputs = [{"image": image, "height": 200 + index, "width": 210} for index, image in enumerate([*images, images[0]])]
    with (
        Caffe2Model.load_protobuf(converted(model, decode=decode, batch=BATCH), runtime=runtime) as together,
        Caffe2Model.load_protobuf(converted(model, decode=decode), runtime=runtime) as alone,
    ):
        assert (together.batch, alone.batch) == (BATCH, 1)
        answers = together(inputs)
        for index, (single, answer) in enumerate(zip(inputs, answers, strict=True)):
            (expected,) = alone([single])
            assert answer.keys() == expected.keys()
            report = compare_instances(expected["instances"], answer["instances"])
            assert report.differences == (), f"image {index}"
            if "panoptic_seg" in expected:
                assert (answer["panoptic_seg"][0] != expected["panoptic_seg"][0]).float().mean() <= 1e-4
                assert len(answer["panoptic_seg"][1]) == len(expected["panoptic_seg"][1])
        assert len(answers[0]["instances"]) == len(answers[3]["instances"]) > 0 == len(answers[1]["instances"])


def test_a_net_for_a_batch_says_so(converted: Callable[..., Path]) -> None:
    assert net_argument(load_nets(converted("mask_rcnn_fpn", batch=BATCH)).predict_net, "batch_size", 1) == BATCH
    assert "batch_size" not in {argument.name for argument in load_nets(converted("mask_rcnn_fpn")).predict_net.arg}
