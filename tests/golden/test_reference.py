"""The reference against detectron2: its detections on the golden images, and its AP."""

import json
import math

import numpy as np
import pytest
import torch

from roastery.data.coco import load_coco
from roastery.data.preprocess import resize_shortest_edge
from roastery.evaluation.coco import evaluate_coco
from roastery.evaluation.parity import REFERENCE, compare_instances
from roastery.evaluation.predict import detect
from roastery.structures import Boxes, Instances

MODELS = ("faster_rcnn_fpn", "mask_rcnn_fpn")


def as_input(image, config):
    resized = resize_shortest_edge(image, config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST)
    height, width, _ = image.shape
    chw = torch.from_numpy(resized.transpose(2, 0, 1).astype(np.float32))
    return {"image": chw, "height": height, "width": width}


def of_detectron2(outputs, image, height, width):
    """What detectron2 gave for one golden image."""
    found = Instances(
        (height, width),
        pred_boxes=Boxes(torch.from_numpy(outputs[f"{image}/pred_boxes"])),
        scores=torch.from_numpy(outputs[f"{image}/scores"]),
        pred_classes=torch.from_numpy(outputs[f"{image}/pred_classes"]),
    )
    if f"{image}/pred_masks" in outputs:
        masks = np.unpackbits(outputs[f"{image}/pred_masks"], axis=2)[:, :, :width]
        found.pred_masks = torch.from_numpy(masks.astype(bool))
    return found


@pytest.mark.parametrize("image", range(4))
@pytest.mark.parametrize("model", MODELS)
def test_it_detects_in_the_golden_images_what_detectron2_detected(load_reference, golden, model, image):
    reference, config = load_reference(model)
    bgr = np.load(golden / model / "caffe2_io.npz")[f"{image}/image_bgr"]
    expected = of_detectron2(np.load(golden / model / "pytorch_outputs.npz"), image, *bgr.shape[:2])

    found = reference([as_input(bgr, config)])[0]["instances"]

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
