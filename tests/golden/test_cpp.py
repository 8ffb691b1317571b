"""caffe2_detect on the original's nets of every architecture, beside Python: its decoding, and detectron2's own answer.

The net's raw outputs come from genuine Caffe2 in its Python; what becomes of them is written down again here, or is the
library's where it has it. What our own nets give is detectron2's answer.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.nets import load_nets, save_nets
from roastery.data.preprocess import pad_and_batch, resize_shortest_edge
from roastery.detectors.anchors import cell_anchors
from roastery.postprocess.instances import assemble_instances, resize_to_original
from roastery.reference.boxes import decode
from roastery.reference.nms import grouped_nms
from roastery.structures import Instances

pytestmark = [pytest.mark.cpp, pytest.mark.xdist_group("cpp")]

Detect = Callable[..., "subprocess.CompletedProcess[str]"]
Outputs = dict[str, Tensor]
MIN_SIZE, MAX_SIZE = 160, 256
PIXEL_MEAN = [103.53, 116.28, 123.675]
"""Of all golden models: INPUT.MIN_SIZE_TEST, INPUT.MAX_SIZE_TEST, MODEL.PIXEL_MEAN."""
ANCHOR_SIZES = [[16.0 * 2 ** (level + octave / 3) for octave in range(3)] for level in range(5)]
SETTINGS = ["--min-size", "160", "--max-size", "256", "--pixel-mean", "103.53,116.28,123.675"]
SETTINGS += ["--anchor-sizes", json.dumps(ANCHOR_SIZES)]
BOXES = ("faster_rcnn_fpn", "mask_rcnn_fpn", "keypoint_rcnn_fpn", "panoptic_fpn")
OURS = (*((model, False) for model in (*BOXES, "retinanet_fpn")), ("retinanet_fpn", True))
"""A RetinaNet raw, and decoded inside the net."""
IMAGES = range(4)
PADDED = 4
"""The number of the image that is cut so that the net's input is padded."""


@pytest.fixture(scope="module")
def pictures(golden: Path) -> Callable[[str, int], NDArray[np.uint8]]:
    """`pictures(model, number)`: (H, W, 3) uint8 BGR."""

    @cache
    def load(model: str, number: int) -> NDArray[np.uint8]:
        images = np.load(golden / model / "caffe2_io.npz")
        cut: NDArray[np.uint8] = (
            images["1/image_bgr"][:150, :170] if number == PADDED else images[f"{number}/image_bgr"]
        )
        return cut

    return load


@pytest.fixture(scope="module")
def answers(golden: Path, pictures: Any) -> Iterator[Callable[[str, int], tuple[Outputs, tuple[int, int]]]]:
    """`answers(model, number)`: what genuine Caffe2 gives in Python, and the size that the net saw."""
    runtimes: dict[str, Caffe2Runtime] = {}

    @cache
    def ask(model: str, number: int) -> tuple[Outputs, tuple[int, int]]:
        if model not in runtimes:
            runtimes[model] = Caffe2Runtime(load_nets(golden / model))
        resized = resize_shortest_edge(pictures(model, number), MIN_SIZE, MAX_SIZE)
        image = torch.from_numpy(resized.transpose(2, 0, 1).astype(np.float32))
        data, im_info = pad_and_batch([image], 32, PIXEL_MEAN)
        assert (data.shape[2:] == image.shape[1:]) == (number != PADDED)
        outputs = runtimes[model].run({"data": data.numpy(), "im_info": im_info.numpy()})
        return {name: torch.from_numpy(array) for name, array in outputs.items()}, (image.shape[1], image.shape[2])

    yield ask
    for runtime in runtimes.values():
        runtime.close()


@pytest.fixture
def found(caffe2_detect: Detect, golden: Path, pictures: Any, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """`found(model, number)`: the lines that caffe2_detect prints for a picture; its files are in the test's folder.

    `folder` is of other nets of the model, and `settings` are what they do not say themselves.
    """

    def detect(
        model: str, number: int, folder: Path | None = None, settings: list[str] = SETTINGS
    ) -> list[dict[str, Any]]:
        folder, file = folder or golden / model, tmp_path / "image.png"
        Image.fromarray(pictures(model, number)[:, :, ::-1]).save(file)
        nets = ["--predict_net", folder / "model.pb", "--init_net", folder / "model_init.pb"]
        done = caffe2_detect(*nets, *settings, "--input", file, "--output", tmp_path)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return detect


def instances_of(answer: tuple[Outputs, tuple[int, int]], picture: NDArray[np.uint8]) -> Instances:
    outputs, seen = answer
    (assembled,) = assemble_instances(outputs, [seen])
    return resize_to_original(assembled, *picture.shape[:2])


def hold(lines: list[dict[str, Any]], boxes: Any, scores: Any, classes: Any) -> None:
    assert [line["class"] for line in lines] == np.asarray(classes).tolist()
    np.testing.assert_allclose(
        np.reshape([line["box"] for line in lines], (-1, 4)), np.asarray(boxes), rtol=0, atol=0.01
    )
    np.testing.assert_allclose([line["score"] for line in lines], np.asarray(scores), rtol=0, atol=1e-4)


@pytest.mark.parametrize("model", BOXES)
@pytest.mark.parametrize("number", [*IMAGES, PADDED])
def test_its_boxes_are_pythons(found: Any, answers: Any, pictures: Any, model: str, number: int) -> None:
    expected = instances_of(answers(model, number), pictures(model, number))
    assert len(expected) > 0
    lines = [line for line in found(model, number) if "box" in line]
    hold(lines, expected.pred_boxes.tensor, expected.scores, expected.pred_classes)


@pytest.mark.parametrize("model", ["mask_rcnn_fpn", "panoptic_fpn"])
@pytest.mark.parametrize("number", [*IMAGES, PADDED])
def test_its_masks_are_pythons(
    found: Any, answers: Any, pictures: Any, tmp_path: Path, model: str, number: int
) -> None:
    expected = instances_of(answers(model, number), pictures(model, number))
    lines = [line for line in found(model, number) if "box" in line]
    for line, mask in zip(lines, expected.pred_masks.numpy(), strict=True):
        # A pixel may lie on the threshold to the last bit.
        assert ((np.asarray(Image.open(tmp_path / line["mask"])) == 255) != mask).sum() <= 1


def decode_keypoints(heatmaps: Tensor, boxes: Tensor) -> Tensor:
    """(n, K, 3): x, y, score. Source: detectron2 0.5, structures/keypoints.py (heatmaps_to_keypoints)."""
    keypoints = torch.zeros(len(boxes), heatmaps.shape[1], 3)
    for row, (maps, box) in enumerate(zip(heatmaps, boxes, strict=True)):
        sides = (box[2:] - box[:2]).clamp(min=1)
        width, height = (int(side) for side in sides.ceil())
        resized = F.interpolate(maps[None], size=(height, width), mode="bicubic", align_corners=False)[0]
        for number, plane in enumerate(resized):
            peak = int(plane.argmax())
            share = 1 / (maps[number] - plane.max()).exp().sum()
            x, y = peak % width + 0.5, peak // width + 0.5
            keypoints[row, number] = torch.stack([x * sides[0] / width + box[0], y * sides[1] / height + box[1], share])
    return keypoints


@pytest.mark.parametrize("number", [*IMAGES, PADDED])
def test_its_keypoints_are_pythons(found: Any, answers: Any, pictures: Any, number: int) -> None:
    (outputs, seen), picture = answers("keypoint_rcnn_fpn", number), pictures("keypoint_rcnn_fpn", number)
    order = torch.argsort(outputs["score_nms"], descending=True, stable=True)
    expected = decode_keypoints(outputs["kps_score"][order], outputs["bbox_nms"][order])
    expected[:, :, 0] *= picture.shape[1] / seen[1]
    expected[:, :, 1] *= picture.shape[0] / seen[0]
    mine = np.array([line["keypoints"] for line in found("keypoint_rcnn_fpn", number)])
    np.testing.assert_allclose(mine[:, :, :2], expected[:, :, :2], rtol=0, atol=0.01)
    np.testing.assert_allclose(mine[:, :, 2], expected[:, :, 2], rtol=1e-3, atol=1e-4)


def pixel_classes(outputs: Outputs, seen: tuple[int, int], size: tuple[int, int]) -> NDArray[np.int64]:
    """Source: detectron2 0.5, modeling/postprocessing.py (sem_seg_postprocess)."""
    logits = outputs["sem_seg"][:, :, : seen[0], : seen[1]]
    classes: NDArray[np.int64] = (
        F.interpolate(logits, size=size, mode="bilinear", align_corners=False)[0].argmax(0).numpy()
    )
    return classes


def merge(things: Instances, classes: NDArray[np.int64], area_limit: int) -> NDArray[np.int64]:
    """Segments of each pixel. Source: detectron2 0.5, modeling/meta_arch/panoptic_fpn.py.

    The golden net's settings: overlap 0.5, confidence 0.5.
    """
    ids = np.zeros(classes.shape, np.int64)
    for score, mask in zip(things.scores.tolist(), things.pred_masks.numpy(), strict=True):
        if score >= 0.5 and mask.any() and (mask & (ids > 0)).sum() / mask.sum() <= 0.5:
            ids[mask & (ids == 0)] = ids.max() + 1
    for label in np.unique(classes[ids == 0]):
        left = (classes == label) & (ids == 0)
        if label != 0 and left.sum() >= area_limit:
            ids[left] = ids.max() + 1
    return ids


@pytest.mark.parametrize("area_limit", [64, 15_500])
@pytest.mark.parametrize("number", [*IMAGES, PADDED])
def test_its_panoptic_segments_are_pythons(
    found: Any, answers: Any, pictures: Any, golden: Path, tmp_path: Path, number: int, area_limit: int
) -> None:
    answer, picture = answers("panoptic_fpn", number), pictures("panoptic_fpn", number)
    classes = pixel_classes(*answer, picture.shape[:2])
    ids = merge(instances_of(answer, picture), classes, area_limit)
    nets = load_nets(golden / "panoptic_fpn")
    for argument in nets.predict_net.arg:
        if argument.name == "combine_stuff_area_limit":
            argument.i = area_limit
    save_nets(nets, tmp_path)
    segments = [line for line in found("panoptic_fpn", number, tmp_path) if "segment" in line]
    mine = np.asarray(Image.open(tmp_path / "image.png.panoptic.png"))
    assert (np.asarray(Image.open(tmp_path / "image.png.sem_seg.png")) != classes).mean() < 1e-4
    assert (mine != ids).mean() < 1e-4
    assert [segment["segment"] for segment in segments] == list(range(1, int(ids.max()) + 1))
    assert [segment["area"] for segment in segments] == np.bincount(mine.ravel())[1:].tolist()
    stuff = [segment for segment in segments if not segment["thing"]]
    assert all(segment["area"] >= area_limit for segment in stuff)
    # Of sky and ground, the larger limit leaves out one or both.
    assert len(stuff) == 2 if area_limit == 64 else len(stuff) < 2


def decode_retinanet(outputs: Outputs, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and classes of a padded image of that size. Source: detectron2 0.5, meta_arch/retinanet.py."""
    boxes, scores, classes = [], [], []
    for level, sizes in enumerate(ANCHOR_SIZES):
        logits, deltas = outputs[f"box_cls_{level}"][0], outputs[f"box_delta_{level}"][0]
        height, width = logits.shape[1:]
        cell = cell_anchors(sizes, [0.5, 1.0, 2.0])
        stride = 8 * 2**level
        assert (height, width) == tuple(-(-side // stride) for side in size)
        rows, columns = torch.meshgrid(torch.arange(height) * stride, torch.arange(width) * stride, indexing="ij")
        shifts = torch.stack([columns, rows, columns, rows], dim=-1).reshape(-1, 1, 4)
        anchors = (shifts + cell).reshape(-1, 4)
        count = len(cell)
        found = logits.reshape(count, -1, height, width).permute(2, 3, 0, 1).reshape(len(anchors), -1).sigmoid()
        moved = decode(
            deltas.reshape(count, 4, height, width).permute(2, 3, 0, 1).reshape(-1, 1, 4), anchors, [1.0] * 4
        )
        anchor, label = (found > 0.05).nonzero(as_tuple=True)
        best = torch.argsort(found[anchor, label], descending=True, stable=True)[:1000]
        boxes.append(moved[anchor[best], 0])
        scores.append(found[anchor, label][best])
        classes.append(label[best])
    every = [torch.cat(parts) for parts in (boxes, scores, classes)]
    kept = grouped_nms(every[0], every[1], every[2], 0.5, -1)[:100]
    return every[0][kept], every[1][kept], every[2][kept]


@pytest.mark.parametrize("number", [*IMAGES, PADDED])
def test_its_retinanet_is_pythons(found: Any, answers: Any, pictures: Any, number: int) -> None:
    (outputs, seen), picture = answers("retinanet_fpn", number), pictures("retinanet_fpn", number)
    boxes, scores, classes = decode_retinanet(outputs, (-(-seen[0] // 32) * 32, -(-seen[1] // 32) * 32))
    scales = torch.tensor([picture.shape[1] / seen[1], picture.shape[0] / seen[0]] * 2)
    limits = torch.tensor([picture.shape[1], picture.shape[0]] * 2)
    scaled = (boxes * scales).clamp(min=0).minimum(limits)
    inside = ((scaled[:, 2:] - scaled[:, :2]) > 0).all(1)
    hold(found("retinanet_fpn", number), scaled[inside], scores[inside], classes[inside])


@pytest.mark.parametrize("number", IMAGES)
def test_its_retinanet_is_detectron2s(found: Any, golden: Path, number: int) -> None:
    """The original's net is exact where nothing is padded: so detectron2's own answers are the program's."""
    outputs = np.load(golden / "retinanet_fpn" / "pytorch_outputs.npz")
    lines = found("retinanet_fpn", number)
    hold(lines, outputs[f"{number}/pred_boxes"], outputs[f"{number}/scores"], outputs[f"{number}/pred_classes"])


@pytest.mark.parametrize("number", IMAGES)
@pytest.mark.parametrize(("model", "decode"), OURS)
def test_what_our_nets_find_is_detectron2s(
    found: Any, converted: Callable[..., Path], golden: Path, tmp_path: Path, model: str, decode: bool, number: int
) -> None:
    """They say themselves how an image is prepared, and a RetinaNet's anchors: no option is given."""
    outputs = np.load(golden / model / "pytorch_outputs.npz")
    theirs = {name.partition("/")[2]: outputs[name] for name in outputs.files if name.startswith(f"{number}/")}
    every = found(model, number, converted(model, decode=decode), [])
    lines = [line for line in every if "box" in line]
    assert len(lines) > 0
    hold(lines, theirs["pred_boxes"], theirs["scores"], theirs["pred_classes"])
    assert all(("keypoints" in line) == ("pred_keypoints" in theirs) for line in lines)
    assert all(("mask" in line) == ("pred_masks" in theirs) for line in lines)
    if "pred_keypoints" in theirs:
        keypoints = np.array([line["keypoints"] for line in lines])
        np.testing.assert_allclose(keypoints[:, :, :2], theirs["pred_keypoints"][:, :, :2], rtol=0, atol=0.01)
        np.testing.assert_allclose(keypoints[:, :, 2], theirs["pred_keypoints"][:, :, 2], rtol=0, atol=1e-4)
    if "pred_masks" in theirs:
        drawn = [np.asarray(Image.open(tmp_path / line["mask"])) == 255 for line in lines]
        masks = np.unpackbits(theirs["pred_masks"], axis=2)[:, :, : drawn[0].shape[1]].astype(bool)
        assert all((mine != mask).sum() <= 1 for mine, mask in zip(drawn, masks, strict=True))
    if "panoptic_seg" in theirs:
        segments = json.loads((golden / model / "metrics.json").read_text())[f"panoptic_segments_{number}"]
        mine = np.asarray(Image.open(tmp_path / "image.png.panoptic.png"))
        assert (mine != theirs["panoptic_seg"]).mean() < 1e-4
        assert (np.asarray(Image.open(tmp_path / "image.png.sem_seg.png")) != theirs["sem_seg_argmax"]).mean() < 1e-4
        assert [(line["segment"], line["thing"], line["class"]) for line in every if "segment" in line] == [
            (segment["id"], segment["isthing"], segment["category_id"]) for segment in segments
        ]
