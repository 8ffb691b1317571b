"""The reference against detectron2: its detections on the golden images, and its AP."""

import json
import math

import numpy as np
import pytest

from roastery.evaluation.parity import REFERENCE, compare_instances
from roastery.evaluation.predict import detect
from roastery.evaluation.side_by_side import SEGMENT_TYPES

MODELS = ("faster_rcnn_fpn", "keypoint_rcnn_fpn", "mask_rcnn_fpn", "panoptic_fpn", "retinanet_fpn")


@pytest.mark.parametrize("image", range(4))
@pytest.mark.parametrize("model", MODELS)
def test_it_detects_in_the_golden_images_what_detectron2_detected(
    load_reference, golden_case, hold_segments, model, image
):
    reference, config = load_reference(model)
    single, expected = golden_case(model, image, config)

    (answer,) = reference([single])
    found, theirs = answer["instances"], expected["instances"]

    report = compare_instances(theirs, found, REFERENCE)
    assert report.differences == ()
    assert found.pred_classes.tolist() == theirs.pred_classes.tolist(), "in detectron2's order"
    # Tighter than the contract, as measured: a step in the wrong direction should be seen before it reaches the bound.
    assert report.largest["pred_boxes"] < 1e-3
    assert report.largest["scores"] < 1e-4
    assert report.largest.get("pred_masks", 0.0) < 1e-3
    assert report.largest.get("pred_keypoints", 0.0) < 1e-3
    if found.has("pred_keypoints"):
        np.testing.assert_allclose(found.pred_keypoints[:, :, 2], theirs.pred_keypoints[:, :, 2], rtol=0, atol=1e-4)
    if "panoptic_seg" in expected:
        hold_segments(expected, answer)


@pytest.mark.parametrize("model", MODELS)
def test_its_figures_are_detectron2s_on_every_metric(load_reference, golden, dataset_of, figures_of, model):
    reference, config = load_reference(model)
    dataset = dataset_of(model)
    expected = json.loads((golden / model / "metrics.json").read_text())["ap_pytorch"]

    detected = detect(reference, dataset, [record.id for record in dataset.images], config, dataset.category_ids)
    assert detected.failures == ()
    metrics = figures_of(dataset, detected, config)

    assert metrics.keys() == expected.keys()
    for iou_type, figures in expected.items():
        # Of segments the golden file has some figures only.
        assert list(metrics[iou_type]) == list(figures) or (iou_type in SEGMENT_TYPES and figures)
        for name, figure in figures.items():
            assert metrics[iou_type][name] == pytest.approx(figure, abs=0.01, nan_ok=True), f"{iou_type}/{name}"
    assert math.isnan(metrics["bbox"]["APl"])
