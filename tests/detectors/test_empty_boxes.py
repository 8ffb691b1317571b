"""Whole nets whose boxes are cut to nothing at the border: genuine Caffe2 crashes of what RoIAlign makes of such boxes.

`HeatmapMaxKeypoint` dies of NaN, which RoIAlign gives where a box has no width, and RoIAlign itself of a box of
negative size: tests/golden/README.md.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.convert import convert
from roastery.caffe2.nets import Nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.config import load_config
from roastery.detectors.generalized_rcnn import GeneralizedRCNN
from roastery.export.onnx import export_onnx
from roastery.export.trace import trace
from roastery.ops import heatmap_max_keypoint
from roastery.sources.native import load_detector

pytestmark = pytest.mark.xdist_group("empty_boxes")

RUNTIMES = ("torch", pytest.param("caffe2", marks=pytest.mark.caffe2))
_RUNTIME_TYPES = {"torch": TorchRuntime, "caffe2": Caffe2Runtime}
KEYPOINTS = 5


class WithKeypoints(nn.Module):
    """A detector whose mask features go into a small keypoint head too."""

    def __init__(self, detector: GeneralizedRCNN) -> None:
        super().__init__()
        self.detector = detector
        self.size_divisibility = detector.size_divisibility
        self.input_names = detector.input_names
        self.register_buffer("pixel_mean", detector.pixel_mean)
        self.head = nn.Conv2d(detector.roi_heads.mask_head.mask_fcn1.in_channels, KEYPOINTS, 1)

    def output_names(self, batch: int) -> list[str]:
        return [*self.detector.output_names(batch), "keypoints"]

    def forward(self, data: Tensor, im_info: Tensor) -> tuple[Tensor, ...]:
        heads = self.detector.roi_heads
        features = self.detector.backbone((data - self.detector.pixel_mean) / self.detector.pixel_std)
        outputs = heads(features, self.detector.proposal_generator(features, im_info), im_info)
        pooled = heads.mask_pooler([features[name] for name in heads.in_features], outputs[0])
        return *outputs, heatmap_max_keypoint(self.head(pooled), outputs[0], should_output_softmax=True)


@pytest.fixture(scope="module")
def detector(mask_model: Path) -> GeneralizedRCNN:
    return load_detector(load_config(mask_model / "config.yaml"), mask_model / "model_final.pkl")


@pytest.fixture(scope="module")
def nets(detector: GeneralizedRCNN) -> Nets:
    return convert(export_onnx(trace(detector, {})))


@pytest.fixture(scope="module")
def nets_with_keypoints(detector: GeneralizedRCNN) -> Nets:
    # What `trace` reads of a detector, this has.
    module: Any = WithKeypoints(detector)
    return convert(export_onnx(trace(module, {})))


@pytest.fixture
def image(any_golden: Path) -> dict[str, NDArray[np.float32]]:
    answers = np.load(any_golden / "caffe2_io.npz")
    return {name: answers[f"0/{name}"] for name in ("data", "im_info")}


def changed(nets: Nets, layer: str, change: Callable[[str, NDArray[np.float32]], NDArray[np.float32]]) -> Nets:
    """Nets with other parameters of a layer: `change` takes "weight" or "bias", and its values as one row."""
    init_net = caffe2_pb2.NetDef.FromString(nets.init_net.SerializeToString())
    fills = [fill for fill in init_net.op if f".{layer}." in f".{fill.output[0]}"]
    assert len(fills) == 2
    for fill in fills:
        (values,) = (argument for argument in fill.arg if argument.name == "values")
        values.floats[:] = change(fill.output[0].rpartition(".")[2], np.array(values.floats, np.float32))
    return Nets(nets.predict_net, init_net)


def moved(nets: Nets, layer: str, dx: float, dy: float) -> Nets:
    """Every box that a layer of deltas makes, so many widths to the right and so many heights down of its anchor."""

    def change(name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values * 0 if name == "weight" else np.tile(np.float32([dx, dy, 0, 0]), len(values) // 4)

    return changed(nets, layer, change)


def boxes_that_are_pooled(nets: Nets, runtime: Any, image: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """(n, 4) of all operators RoIAlign of the net."""
    blobs = [operator.input[1] for operator in nets.predict_net.op if operator.type == "RoIAlign"]
    return np.concatenate([rois[:, -4:] for rois in runtime.run(image, blobs).values()])


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("dx", "dy"), [(-1000.0, 0.0), (1000.0, 0.0), (0.0, -1000.0), (-1000.0, 1000.0)])
def test_detections_without_width_or_height_have_masks_and_keypoints_of_numbers(
    nets_with_keypoints: Nets,
    detector: GeneralizedRCNN,
    image: dict[str, NDArray[np.float32]],
    runtime: str,
    dx: float,
    dy: float,
) -> None:
    away = moved(nets_with_keypoints, "bbox_pred", dx, dy)
    with _RUNTIME_TYPES[runtime](away) as running:
        outputs = running.run(image)
        pooled = boxes_that_are_pooled(away, running, image)
    boxes = outputs["bbox_nms"]
    assert len(boxes) > 0
    assert ((boxes[:, 2:] - boxes[:, :2]).min(axis=1) == 0).all()
    assert ((pooled[:, 2:] - pooled[:, :2]) >= 0).all()
    # As of features that are 0, which is what detectron2 pools there.
    heads = detector.roi_heads
    side = heads.mask_pooler.output_size
    with torch.no_grad():
        mask = heads.mask_head.layers(torch.zeros(1, heads.mask_head.mask_fcn1.in_channels, side, side)).sigmoid()
    expected = np.repeat(mask.numpy(), len(boxes), axis=0)
    np.testing.assert_allclose(outputs["mask_fcn_probs"], expected, rtol=0, atol=1e-5)
    assert outputs["keypoints"].shape == (len(boxes), 4, KEYPOINTS)
    assert np.isfinite(outputs["keypoints"]).all()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("dx", "dy"), [(-1000.0, 0.0), (1000.0, 0.0), (0.0, -1000.0), (0.0, 1000.0)])
def test_proposals_without_width_or_height_are_pooled_by_no_head(
    nets: Nets, image: dict[str, NDArray[np.float32]], runtime: str, dx: float, dy: float
) -> None:
    away = moved(nets, "anchor_deltas", dx, dy)
    with _RUNTIME_TYPES[runtime](away) as running:
        assert len(boxes_that_are_pooled(away, running, image)) == 0
        outputs = running.run(image)
    assert {len(output) for output in outputs.values()} == {0}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_box_of_wild_deltas_has_a_negative_size_where_it_is_pooled(
    nets_with_keypoints: Nets, image: dict[str, NDArray[np.float32]], runtime: str
) -> None:
    wild = changed(nets_with_keypoints, "bbox_pred", lambda _, values: values * 1000)
    wild = changed(wild, "anchor_deltas", lambda _, values: values * 20)
    with _RUNTIME_TYPES[runtime](wild) as running:
        pooled = boxes_that_are_pooled(wild, running, image)
        outputs = running.run(image)
    assert len(pooled) > len(outputs["bbox_nms"]) > 0
    assert ((pooled[:, 2:] - pooled[:, :2]) >= 0).all()
    assert all(np.isfinite(output).all() for output in outputs.values())
