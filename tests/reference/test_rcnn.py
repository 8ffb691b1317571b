import numpy as np
import pytest
import torch

from roastery.config import load_config
from roastery.data.preprocess import read_image, to_input
from roastery.reference.build import build_reference
from roastery.sources.native import build_detector


def test_an_image_that_is_padded_or_not_is_detected_alike_apart_from_the_border(load_reference, box_model, shapes):
    # 150 pixels are padded to 160: nothing of the padding may be detected.
    reference, _ = load_reference(box_model.name)
    bgr = read_image(shapes / "val" / "images" / "000012.jpg")
    image = torch.from_numpy(bgr[:150, :150].transpose(2, 0, 1).astype(np.float32))
    found = reference([{"image": image}])[0]["instances"]
    assert len(found) > 0
    assert found.image_size == (150, 150)
    assert found.pred_boxes.tensor.max() <= 150


def test_images_given_together_are_detected_as_each_alone(load_reference, mask_model, shapes):
    reference, config = load_reference(mask_model.name)
    inputs = [to_input(shapes / "val" / "images" / name, config) for name in ("000001.jpg", "000004.jpg")]
    together = [output["instances"] for output in reference(inputs)]
    for single, found in zip(inputs, together, strict=True):
        alone = reference([single])[0]["instances"]
        assert alone.pred_boxes.tensor.equal(found.pred_boxes.tensor)
        assert alone.pred_masks.equal(found.pred_masks)


def test_without_a_height_and_width_detections_are_in_pixels_of_the_given_image(load_reference, mask_model, shapes):
    reference, config = load_reference(mask_model.name)
    image = to_input(shapes / "val" / "images" / "000001.jpg", config)["image"]
    found = reference([{"image": image}])[0]["instances"]
    assert found.image_size == (160, 160)
    assert found.pred_masks.shape[1:] == (160, 160)


def test_an_image_without_a_detection_gives_none(mask_model):
    config = load_config(mask_model / "config.yaml", ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "1.0"])
    found = build_reference(config, build_detector(config))([{"image": torch.zeros(3, 64, 96)}])[0]["instances"]
    assert len(found) == 0
    assert found.pred_masks.shape == (0, 64, 96)


def test_an_image_without_a_proposal_gives_none(mask_model):
    # No proposal is larger than this.
    config = load_config(mask_model / "config.yaml", ["MODEL.PROPOSAL_GENERATOR.MIN_SIZE", "5000"])
    found = build_reference(config, build_detector(config))([{"image": torch.zeros(3, 64, 96)}])[0]["instances"]
    assert len(found) == 0
    assert found.pred_masks.shape == (0, 64, 96)


def undecided(config):
    """A detector that finds its three classes and the background equally likely, everywhere."""
    detector = build_detector(config)
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.weight.zero_()
        detector.roi_heads.box_predictor.cls_score.bias.zero_()
    return build_reference(config, detector)


def test_class_agnostic_boxes_and_masks_serve_every_class(mask_model):
    config = load_config(
        mask_model / "config.yaml",
        ["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True", "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", "True"],
    )
    found = undecided(config)([{"image": torch.rand(3, 96, 96) * 255}])[0]["instances"]
    assert found.scores.tolist() == [0.25] * len(found)
    assert set(found.pred_classes.tolist()) == {0, 1, 2}
    assert found.pred_masks.shape == (len(found), 96, 96)


@pytest.mark.parametrize(("threshold", "detected"), [("0.25", False), ("0.2499", True)])
def test_a_score_must_be_above_the_threshold(box_model, threshold, detected):
    overrides = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", threshold]
    config = load_config(box_model / "config.yaml", overrides)
    found = undecided(config)([{"image": torch.rand(3, 96, 96) * 255}])[0]["instances"]
    assert bool(len(found)) is detected


def test_weights_that_are_no_numbers_give_no_detection_rather_than_a_wrong_one(box_model):
    # Source: detectron2 drops boxes and scores that are not finite.
    config = load_config(box_model / "config.yaml")
    detector = build_detector(config)
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.weight[0, 0] = float("nan")
    found = build_reference(config, detector)([{"image": torch.rand(3, 64, 64)}])[0]["instances"]
    assert len(found) == 0
