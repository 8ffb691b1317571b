"""Caffe2Model against detectron2: its detections on the golden images, and its AP beside the original's.

Sources: pytorch_outputs.npz (detectron2's own post-processed outputs) and metrics.json (its COCO AP), golden/README.md.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roastery import Caffe2Model, load_config
from roastery.caffe2.model import RuntimeName
from roastery.data.coco import load_coco
from roastery.evaluation.coco import evaluate_coco
from roastery.evaluation.parity import REFERENCE, compare_instances
from roastery.evaluation.predict import detect
from roastery.reference.build import build_reference
from roastery.sources.native import load_detector

MODELS = ("faster_rcnn_fpn", "mask_rcnn_fpn")
RUNTIMES = ("torch", pytest.param("caffe2", marks=pytest.mark.caffe2))
ALLOWED_AP = 0.05


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("model", MODELS)
def test_it_detects_in_the_golden_images_what_detectron2_detected(
    golden_case: Callable[..., Any], shapes: Path, converted: Callable[[str], Path], model: str, runtime: RuntimeName
) -> None:
    config = load_config(shapes / model / "config.yaml")
    with Caffe2Model.load_protobuf(converted(model), runtime=runtime) as caffe2_model:
        for image in range(4):
            single, expected = golden_case(model, image, config)
            (output,) = caffe2_model([single])
            report = compare_instances(expected, output["instances"], REFERENCE)
            assert report.differences == (), f"image {image}"
            assert output["instances"].pred_classes.tolist() == expected.pred_classes.tolist(), "detectron2's order"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("model", MODELS)
def test_its_ap_is_the_originals(
    golden: Path, shapes: Path, converted: Callable[[str], Path], model: str, runtime: RuntimeName
) -> None:
    config = load_config(shapes / model / "config.yaml")
    val = load_coco("val", shapes / "val" / "images", shapes / "val" / "instances.json")
    ids = [image.id for image in val.images]
    golden_ap = json.loads((golden / model / "metrics.json").read_text())["ap_pytorch"]
    original = build_reference(config, load_detector(config, shapes / model / "model_final.pkl"))
    with Caffe2Model.load_protobuf(converted(model), runtime=runtime) as caffe2_model:
        before, after = (detect(each, val, ids, config, val.category_ids) for each in (original, caffe2_model))
    assert before.failures == after.failures == ()
    reference_ap, converted_ap = (evaluate_coco(val, found.detections, tuple(golden_ap)) for found in (before, after))
    for iou_type, figures in golden_ap.items():
        assert reference_ap[iou_type]["AP"] == pytest.approx(figures["AP"], abs=ALLOWED_AP)
        assert converted_ap[iou_type]["AP"] == pytest.approx(reference_ap[iou_type]["AP"], abs=ALLOWED_AP)
