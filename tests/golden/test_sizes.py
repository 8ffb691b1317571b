"""Traced at one size, right at others: with padding and without, and on an image in which nothing is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.nets import load_nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.config import load_config
from roastery.data.preprocess import pad_and_batch, read_image
from roastery.detectors.detector import Detector, detect_eagerly
from roastery.evaluation.parity import compare_detections
from roastery.export.trace import TRACED_SIZE, load_program
from roastery.sources.native import load_detector

MODELS = ("faster_rcnn_fpn", "keypoint_rcnn_fpn", "mask_rcnn_fpn", "panoptic_fpn", "retinanet_fpn")
KINDS = (*((model, False) for model in MODELS), ("retinanet_fpn", True))
"""A RetinaNet raw, and decoded inside the net."""
RUNTIMES = ("torch", pytest.param("caffe2", marks=pytest.mark.caffe2))
_RUNTIME_TYPES = {"torch": TorchRuntime, "caffe2": Caffe2Runtime}
# Height and width in pixels, before padding to multiples of 32.
UNPADDED, PADDED, TALL_PADDED = (160, 224), (150, 178), (250, 97)
SIZES = (UNPADDED, PADDED, TALL_PADDED)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}{'-decoded' if kind[1] else ''}")
def kind(request: pytest.FixtureRequest) -> tuple[str, bool]:
    found: tuple[str, bool] = request.param
    return found


@pytest.fixture(scope="module")
def model(kind: tuple[str, bool]) -> str:
    return kind[0]


@pytest.fixture(scope="module")
def net_folder(kind: tuple[str, bool], converted: Callable[..., Path]) -> Path:
    return converted(kind[0], decode=kind[1])


@pytest.fixture(scope="module")
def config(shapes: Path, model: str) -> Any:
    return load_config(shapes / model / "config.yaml")


@pytest.fixture(scope="module")
def detector(shapes: Path, kind: tuple[str, bool], config: Any) -> Detector:
    return load_detector(config, shapes / kind[0] / "model_final.pkl", decode=kind[1])


def _inputs(config: Any, image: torch.Tensor) -> dict[str, np.ndarray]:
    data, im_info = pad_and_batch([image], 32, config.MODEL.PIXEL_MEAN)
    return {"data": data.numpy(), "im_info": im_info.numpy()}


def _scene(shapes: Path, size: tuple[int, int]) -> torch.Tensor:
    """A picture with shapes in it, stretched to the size."""
    image = torch.from_numpy(read_image(shapes / "val" / "images" / "000002.jpg").transpose(2, 0, 1).copy()).float()
    return torch.nn.functional.interpolate(image[None], size=size, mode="bilinear")[0]


def _blank(config: Any, size: tuple[int, int]) -> torch.Tensor:
    return torch.tensor(config.MODEL.PIXEL_MEAN).reshape(3, 1, 1).expand(3, *size).clone()


def _eager(detector: Detector, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return detect_eagerly(detector, inputs)


def test_no_size_here_is_the_one_that_was_traced() -> None:
    for height, width in SIZES:
        assert (-(-height // 32), -(-width // 32)) != TRACED_SIZE


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_net_is_the_detector_at_every_size(
    shapes: Path, net_folder: Path, config: Any, detector: Detector, runtime: str
) -> None:
    with _RUNTIME_TYPES[runtime](load_nets(net_folder)) as running:
        for size in SIZES:
            inputs = _inputs(config, _scene(shapes, size))
            expected = _eager(detector, inputs)
            assert len(expected.get("score_nms", [0])) > 0, f"{size}: an image in which nothing is found proves little"
            report = compare_detections(expected, running.run(inputs))
            assert report.passed, f"{size}: {report.differences}"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_image_without_a_detection_gives_empty_outputs_of_the_right_shapes(
    net_folder: Path, config: Any, detector: Detector, runtime: str
) -> None:
    inputs = _inputs(config, _blank(config, PADDED))
    expected = _eager(detector, inputs)
    assert len(expected.get("score_nms", [])) == 0
    with _RUNTIME_TYPES[runtime](load_nets(net_folder)) as running:
        outputs = running.run(inputs)
    assert {name: array.shape for name, array in outputs.items()} == {
        name: array.shape for name, array in expected.items()
    }
    assert compare_detections(expected, outputs).differences == ()


def test_the_saved_program_is_the_detector_at_every_size(
    shapes: Path, net_folder: Path, config: Any, detector: Detector
) -> None:
    traced = load_program(net_folder / "model.pt2")
    program = traced.program.module()
    for image in (*(_scene(shapes, size) for size in SIZES), _blank(config, PADDED)):
        inputs = _inputs(config, image)
        with torch.no_grad():
            outputs = program(*(torch.from_numpy(inputs[name]) for name in ("data", "im_info")))
        actual = {name: tensor.numpy() for name, tensor in zip(traced.output_names, outputs, strict=True)}
        report = compare_detections(_eager(detector, inputs), actual)
        assert report.passed, f"{tuple(image.shape)}: {report.differences}"
