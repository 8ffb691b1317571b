"""Converted models against detectron2, in every runtime: their detections on the golden images, and their AP beside
the original's.

Sources: pytorch_outputs.npz (detectron2's own post-processed outputs) and metrics.json (its COCO AP), golden/README.md.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from roastery import Caffe2Model, load_config
from roastery.converted_detector import ConvertedDetector
from roastery.data.coco import CocoDataset
from roastery.data.preprocess import to_input
from roastery.evaluation.gate import main_metric
from roastery.evaluation.parity import REFERENCE, compare_instances
from roastery.evaluation.predict import detect
from roastery.onnx_runtime.model import OnnxModel

MODELS = ("faster_rcnn_fpn", "keypoint_rcnn_fpn", "mask_rcnn_fpn", "panoptic_fpn", "retinanet_fpn")
KINDS = (*((model, False) for model in MODELS), ("retinanet_fpn", True))
RUNTIMES = ("torch", pytest.param("caffe2", marks=pytest.mark.caffe2), "onnxruntime")
ALLOWED_AP = 0.05
Open = Callable[[str, bool, str], ConvertedDetector]


@pytest.fixture
def open_model(converted: Callable[..., Path], lowered: Callable[..., Path]) -> Open:
    """`open_model(model, decode, runtime)`: the converted model, in the runtime."""

    def model_of(model: str, decode: bool, runtime: str) -> ConvertedDetector:
        if runtime == "onnxruntime":
            return OnnxModel.load(lowered(model, decode=decode), threads=1)
        return Caffe2Model.load_protobuf(
            converted(model, decode=decode), runtime="caffe2" if runtime == "caffe2" else "torch"
        )

    return model_of


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("model", "decode"), KINDS)
def test_it_detects_in_the_golden_images_what_detectron2_detected(
    golden_case: Callable[..., Any],
    hold_segments: Callable[..., None],
    shapes: Path,
    open_model: Open,
    model: str,
    decode: bool,
    runtime: str,
) -> None:
    config = load_config(shapes / model / "config.yaml")
    with open_model(model, decode, runtime) as converted_model:
        for image in range(4):
            single, expected = golden_case(model, image, config)
            (output,) = converted_model([single])
            found, theirs = output["instances"], expected["instances"]
            report = compare_instances(theirs, found, REFERENCE)
            assert report.differences == (), f"image {image}"
            assert found.pred_classes.tolist() == theirs.pred_classes.tolist(), "detectron2's order"
            if found.has("pred_keypoints"):
                np.testing.assert_allclose(
                    found.pred_keypoints[:, :, 2], theirs.pred_keypoints[:, :, 2], rtol=0, atol=1e-3
                )
            if "panoptic_seg" in expected:
                hold_segments(expected, output)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("model", "decode"), KINDS)
def test_it_detects_what_the_reference_detects_padded_or_not_and_where_there_is_nothing(
    shapes: Path,
    open_model: Open,
    load_reference: Callable[[str], Any],
    dataset_of: Callable[[str], CocoDataset],
    model: str,
    decode: bool,
    runtime: str,
) -> None:
    reference, config = load_reference(model)
    inputs = [to_input(record, config) for record in dataset_of(model).images[:8]]
    whole = inputs[0]["image"]
    inputs += [{"image": whole[:, :131, :143]}, {"image": whole.flip(2)}]
    inputs += [{"image": torch.tensor(config.MODEL.PIXEL_MEAN).reshape(3, 1, 1).expand(3, 150, 178)}]
    padded = [single["image"].shape[1] % 32 + single["image"].shape[2] % 32 > 0 for single in inputs]
    assert 2 <= sum(padded) < len(padded)
    with open_model(model, decode, runtime) as converted_model:
        found = [converted_model([single])[0] for single in inputs]
    for index, (single, answer) in enumerate(zip(inputs, found, strict=True)):
        (expected,) = reference([single])
        report = compare_instances(expected["instances"], answer["instances"], REFERENCE)
        assert report.differences == (), f"image {index}"
        if "sem_seg" in expected:
            assert float((expected["sem_seg"] - answer["sem_seg"]).abs().max()) < 1e-3
    assert len(found[0]["instances"]) > 0 == len(found[-1]["instances"])


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("model", "decode"), KINDS)
def test_its_figures_are_the_originals(
    golden: Path,
    shapes: Path,
    open_model: Open,
    dataset_of: Callable[[str], CocoDataset],
    figures_of: Callable[..., Any],
    model: str,
    decode: bool,
    runtime: str,
) -> None:
    """detectron2's own figures; that the reference has them too is the reference's test."""
    config = load_config(shapes / model / "config.yaml")
    val = dataset_of(model)
    expected = json.loads((golden / model / "metrics.json").read_text())["ap_pytorch"]
    with open_model(model, decode, runtime) as converted_model:
        found = detect(converted_model, val, [image.id for image in val.images], config, val.category_ids)
    assert found.failures == ()
    figures = figures_of(val, found, config)
    assert figures.keys() == expected.keys()
    for iou_type, theirs in expected.items():
        main = main_metric(iou_type)
        assert figures[iou_type][main] == pytest.approx(theirs[main], abs=ALLOWED_AP), iou_type
