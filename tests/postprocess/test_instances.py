import pytest
import torch

from roastery.errors import RuntimeFailed
from roastery.postprocess.instances import assemble_instances, resize_to_original
from roastery.structures import Boxes, Instances


@pytest.fixture
def outputs():
    maps = torch.arange(3 * 2, dtype=torch.float32).reshape(3, 2, 1, 1).expand(3, 2, 28, 28) / 10
    return {
        "bbox_nms": torch.tensor([[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 8.0, 9.0], [2.0, 3.0, 5.0, 7.0]]),
        "score_nms": torch.tensor([0.3, 0.2, 0.9]),
        "class_nms": torch.tensor([0.0, 0.0, 1.0]),
        "mask_fcn_probs": maps,
    }


def test_detections_come_by_falling_score_with_the_map_of_their_class(outputs):
    (found,) = assemble_instances(outputs, [(20, 30)])
    assert found.image_size == (20, 30)
    assert found.scores.tolist() == pytest.approx([0.9, 0.3, 0.2])
    assert found.pred_classes.tolist() == [1, 0, 0]
    assert found.pred_classes.dtype == torch.int64
    assert found.pred_boxes.tensor.tolist() == outputs["bbox_nms"][[2, 0, 1]].tolist()
    assert found.pred_masks.shape == (3, 1, 28, 28)
    assert found.pred_masks[:, 0, 0, 0].tolist() == pytest.approx([0.5, 0.0, 0.2])


def test_equal_scores_keep_the_order_of_the_net(outputs):
    outputs["score_nms"] = torch.full((3,), 0.5)
    (found,) = assemble_instances(outputs, [(20, 30)])
    assert found.pred_classes.tolist() == [0, 0, 1]


def test_a_class_agnostic_map_serves_every_class(outputs):
    outputs["mask_fcn_probs"] = torch.rand(3, 1, 28, 28)
    (found,) = assemble_instances(outputs, [(20, 30)])
    assert found.pred_masks.equal(outputs["mask_fcn_probs"][[2, 0, 1]])


def test_a_net_without_masks_gives_instances_without_masks(outputs):
    del outputs["mask_fcn_probs"]
    (found,) = assemble_instances(outputs, [(20, 30)])
    assert sorted(found.get_fields()) == ["pred_boxes", "pred_classes", "scores"]


def test_a_batch_is_split_into_its_images(outputs):
    outputs["batch_splits"] = torch.tensor([2.0, 0.0, 1.0])
    first, second, third = assemble_instances(outputs, [(20, 30), (10, 10), (8, 9)])
    assert (len(first), len(second), len(third)) == (2, 0, 1)
    assert first.scores.tolist() == pytest.approx([0.3, 0.2])
    assert third.pred_classes.tolist() == [1]
    assert third.pred_masks[0, 0, 0, 0] == pytest.approx(0.5)
    assert second.image_size == (10, 10)


def test_no_detection_gives_empty_instances_with_all_fields():
    empty = {
        "bbox_nms": torch.zeros(0, 4),
        "score_nms": torch.zeros(0),
        "class_nms": torch.zeros(0),
        "mask_fcn_probs": torch.zeros(0, 3, 28, 28),
    }
    (found,) = assemble_instances(empty, [(20, 30)])
    resized = resize_to_original(found, 40, 60)
    assert len(resized) == 0
    assert resized.pred_masks.shape == (0, 40, 60)
    assert resized.pred_boxes.tensor.shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bbox_nms", None, "gave no bbox_nms"),
        ("score_nms", torch.tensor([0.5]), "1 rows of score_nms for 3 boxes"),
        ("score_nms", torch.tensor([0.5, float("nan"), 0.1]), "NaN or infinity in score_nms"),
        ("mask_fcn_probs", torch.full((3, 2, 28, 28), float("inf")), "NaN or infinity in mask_fcn_probs"),
        ("class_nms", torch.tensor([0.0, 2.0, 1.0]), "classes 0 to 2, but maps of 2 classes"),
        ("class_nms", torch.tensor([0.0, -1.0, 1.0]), "classes -1 to 1"),
        ("batch_splits", torch.tensor([2.0]), r"batch_splits \[2\] for 3 detections"),
    ],
)
def test_outputs_that_no_net_should_give_are_refused(outputs, name, value, message):
    if value is None:
        del outputs[name]
    else:
        outputs[name] = value
    with pytest.raises(RuntimeFailed, match=message):
        assemble_instances(outputs, [(20, 30)])


def test_a_batch_without_its_splits_is_refused(outputs):
    with pytest.raises(RuntimeFailed, match="no batch_splits for a batch of 2"):
        assemble_instances(outputs, [(20, 30), (20, 30)])


def test_boxes_are_scaled_to_the_original_image_clipped_and_dropped_if_empty():
    # Closed form: half the height, twice the width; the last box ends up beyond the right border.
    found = Instances(
        (20, 10),
        pred_boxes=Boxes(torch.tensor([[1.0, 2.0, 5.0, 6.0], [-3.0, 10.0, 12.0, 30.0], [10.0, 1.0, 15.0, 3.0]])),
        scores=torch.tensor([0.9, 0.8, 0.7]),
        pred_classes=torch.tensor([0, 1, 2]),
    )
    resized = resize_to_original(found, 10, 20)
    assert resized.image_size == (10, 20)
    assert resized.pred_boxes.tensor.tolist() == [[2.0, 1.0, 10.0, 3.0], [0.0, 5.0, 20.0, 10.0]]
    assert resized.pred_classes.tolist() == [0, 1]
    assert found.pred_boxes.tensor.tolist()[0] == [1.0, 2.0, 5.0, 6.0], "the given instances are not changed"
