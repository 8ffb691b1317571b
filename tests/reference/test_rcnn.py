import json
import math

import numpy as np
import pytest
import torch

from roastery.config import load_config
from roastery.data.coco import load_coco
from roastery.data.preprocess import resize_shortest_edge
from roastery.evaluation.coco import evaluate_coco
from roastery.evaluation.parity import REFERENCE, compare_instances
from roastery.evaluation.predict import detect
from roastery.reference.rcnn import ReferenceDetector
from roastery.sources.native import build_detector
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


def test_an_image_that_is_padded_or_not_is_detected_alike_apart_from_the_border(load_reference, golden):
    # 150 pixels are padded to 160: nothing of the padding may be detected.
    reference, _ = load_reference("faster_rcnn_fpn")
    bgr = np.load(golden / "faster_rcnn_fpn" / "caffe2_io.npz")["3/image_bgr"]
    image = torch.from_numpy(bgr[:150, :150].transpose(2, 0, 1).astype(np.float32))
    found = reference([{"image": image}])[0]["instances"]
    assert len(found) > 0
    assert found.image_size == (150, 150)
    assert found.pred_boxes.tensor.max() <= 150


def test_images_given_together_are_detected_as_each_alone(load_reference, golden):
    reference, config = load_reference("mask_rcnn_fpn")
    arrays = np.load(golden / "mask_rcnn_fpn" / "caffe2_io.npz")
    inputs = [as_input(arrays[f"{image}/image_bgr"], config) for image in range(2)]
    together = [output["instances"] for output in reference(inputs)]
    for single, found in zip(inputs, together, strict=True):
        alone = reference([single])[0]["instances"]
        assert alone.pred_boxes.tensor.equal(found.pred_boxes.tensor)
        assert alone.pred_masks.equal(found.pred_masks)


def test_without_a_height_and_width_detections_are_in_pixels_of_the_given_image(load_reference, golden):
    reference, _ = load_reference("mask_rcnn_fpn")
    image = torch.from_numpy(np.load(golden / "mask_rcnn_fpn" / "caffe2_io.npz")["0/data"][0])
    found = reference([{"image": image}])[0]["instances"]
    assert found.image_size == (160, 160)
    assert found.pred_masks.shape[1:] == (160, 160)


def test_an_image_without_a_detection_gives_none(shapes):
    config = load_config(shapes / "mask_rcnn_fpn" / "config.yaml", ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "1.0"])
    found = ReferenceDetector(config, build_detector(config))([{"image": torch.zeros(3, 64, 96)}])[0]["instances"]
    assert len(found) == 0
    assert found.pred_masks.shape == (0, 64, 96)


def test_an_image_without_a_proposal_gives_none(shapes):
    # No proposal is larger than this.
    config = load_config(shapes / "mask_rcnn_fpn" / "config.yaml", ["MODEL.PROPOSAL_GENERATOR.MIN_SIZE", "5000"])
    found = ReferenceDetector(config, build_detector(config))([{"image": torch.zeros(3, 64, 96)}])[0]["instances"]
    assert len(found) == 0
    assert found.pred_masks.shape == (0, 64, 96)


def undecided(config):
    """A detector that finds its three classes and the background equally likely, everywhere."""
    detector = build_detector(config)
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.weight.zero_()
        detector.roi_heads.box_predictor.cls_score.bias.zero_()
    return ReferenceDetector(config, detector)


def test_class_agnostic_boxes_and_masks_serve_every_class(shapes):
    config = load_config(
        shapes / "mask_rcnn_fpn" / "config.yaml",
        ["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True", "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", "True"],
    )
    found = undecided(config)([{"image": torch.rand(3, 96, 96) * 255}])[0]["instances"]
    assert found.scores.tolist() == [0.25] * len(found)
    assert set(found.pred_classes.tolist()) == {0, 1, 2}
    assert found.pred_masks.shape == (len(found), 96, 96)


@pytest.mark.parametrize(("threshold", "detected"), [("0.25", False), ("0.2499", True)])
def test_a_score_must_be_above_the_threshold(shapes, threshold, detected):
    overrides = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", threshold]
    config = load_config(shapes / "faster_rcnn_fpn" / "config.yaml", overrides)
    found = undecided(config)([{"image": torch.rand(3, 96, 96) * 255}])[0]["instances"]
    assert bool(len(found)) is detected


def test_weights_that_are_no_numbers_give_no_detection_rather_than_a_wrong_one(shapes):
    # Source: detectron2 drops boxes and scores that are not finite.
    config = load_config(shapes / "faster_rcnn_fpn" / "config.yaml")
    detector = build_detector(config)
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.weight[0, 0] = float("nan")
    found = ReferenceDetector(config, detector)([{"image": torch.rand(3, 64, 64)}])[0]["instances"]
    assert len(found) == 0
