"""The reference against detectron2: its detections on the golden images, and its AP."""

import json
import math

import pytest

from roastery.data.coco import load_coco
from roastery.evaluation.coco import evaluate_coco
from roastery.evaluation.parity import REFERENCE, compare_instances
from roastery.evaluation.predict import detect

MODELS = ("faster_rcnn_fpn", "mask_rcnn_fpn")


@pytest.mark.parametrize("image", range(4))
@pytest.mark.parametrize("model", MODELS)
def test_it_detects_in_the_golden_images_what_detectron2_detected(load_reference, golden_case, model, image):
    reference, config = load_reference(model)
    single, expected = golden_case(model, image, config)

    found = reference([single])[0]["instances"]

    report = compare_instances(expected, found, REFERENCE)
    assert report.differences == ()
    assert found.pred_classes.tolist() == expected.pred_classes.tolist(), "in detectron2's order"
    # Tighter than the contract, as measured: a step in the wrong direction should be seen before it reaches the bound.
    assert report.largest["pred_boxes"] < 1e-3
    assert report.largest["scores"] < 1e-4
    assert report.largest.get("pred_masks", 0.0) < 1e-3


@pytest.mark.parametrize("model", MODELS)
def test_its_ap_is_detectron2s_on_every_metric(load_reference, golden, shapes, model):
    reference, config = load_reference(model)
    dataset = load_coco("shapes_val", shapes / "val" / "images", shapes / "val" / "instances.json")
    expected = json.loads((golden / model / "metrics.json").read_text())["ap_pytorch"]

    detected = detect(reference, dataset, [record.id for record in dataset.images], config, dataset.category_ids)
    assert detected.failures == ()
    metrics = evaluate_coco(dataset, detected.detections, tuple(expected))

    for iou_type, figures in expected.items():
        assert list(metrics[iou_type]) == list(figures)
        for name, figure in figures.items():
            assert metrics[iou_type][name] == pytest.approx(figure, abs=0.01, nan_ok=True), f"{iou_type}/{name}"
    assert math.isnan(metrics["bbox"]["APl"])
