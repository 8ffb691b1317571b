import copy
import pickle

import pytest
import torch

from roastery.structures import Boxes, Instances


@pytest.fixture
def boxes():
    return Boxes(torch.tensor([[1.0, 2.0, 11.0, 6.0], [5.0, 5.0, 5.0, 9.0], [-4.0, -2.0, 30.0, 40.0]]))


@pytest.fixture
def instances(boxes):
    return Instances(
        (20, 10), pred_boxes=boxes, scores=torch.tensor([0.9, 0.5, 0.1]), pred_classes=torch.tensor([2, 0, 1])
    )


def test_area_is_width_times_height(boxes):
    assert boxes.area().tolist() == [40.0, 0.0, 34.0 * 42.0]


def test_a_box_is_nonempty_if_both_sides_are_longer_than_the_threshold(boxes):
    assert boxes.nonempty().tolist() == [True, False, True]
    assert boxes.nonempty(4.0).tolist() == [False, False, True]


def test_a_box_of_nan_is_empty():
    assert Boxes(torch.tensor([[0.0, 0.0, float("nan"), 5.0]])).nonempty().tolist() == [False]


def test_scale_and_clip_work_in_place_on_x_by_width_and_y_by_height(boxes):
    boxes.scale(2.0, 0.5)
    assert boxes[0].tensor.tolist() == [[2.0, 1.0, 22.0, 3.0]]
    boxes.clip((2, 20))
    assert boxes.tensor.tolist() == [[2.0, 1.0, 20.0, 2.0], [10.0, 2.0, 10.0, 2.0], [0.0, 0.0, 20.0, 2.0]]


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (1, [1]),
        (-1, [2]),
        (slice(0, 2), [0, 1]),
        (torch.tensor([True, False, True]), [0, 2]),
        (torch.tensor([2, 0]), [2, 0]),
    ],
)
def test_boxes_and_instances_are_indexed_as_detectron2_indexes_them(instances, index, rows):
    assert instances.pred_boxes[index].tensor.tolist() == instances.pred_boxes.tensor[rows].tolist()
    chosen = instances[index]
    assert chosen.image_size == (20, 10)
    assert chosen.scores.tolist() == instances.scores[rows].tolist()
    assert chosen.pred_boxes.tensor.tolist() == instances.pred_boxes.tensor[rows].tolist()


def test_no_box_is_a_box_tensor_of_no_rows():
    assert Boxes(torch.zeros(0)).tensor.shape == (0, 4)


def test_boxes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"must be \(n, 4\)"):
        Boxes(torch.zeros(2, 5))


def test_a_field_of_another_length_is_refused(instances):
    with pytest.raises(ValueError, match="'pred_masks' has 2 entries for 3 instances"):
        instances.pred_masks = torch.zeros(2, 1, 28, 28)


def test_the_only_field_may_be_replaced_by_a_longer_one():
    instances = Instances((4, 4), scores=torch.zeros(2))
    instances.scores = torch.zeros(3)
    assert len(instances) == 3


def test_fields_are_set_got_asked_for_and_removed_by_name(instances):
    assert instances.has("scores")
    assert instances.get("scores") is instances.scores
    instances.remove("scores")
    assert not instances.has("scores")
    assert list(instances.get_fields()) == ["pred_boxes", "pred_classes"]
    with pytest.raises(AttributeError, match="no field 'scores'"):
        _ = instances.scores


def test_an_index_beyond_the_end_is_an_index_error(instances):
    with pytest.raises(IndexError, match="instance 3 of 3"):
        _ = instances[3]


def test_instances_without_a_field_have_no_length():
    with pytest.raises(NotImplementedError, match="no length"):
        len(Instances((1, 1)))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_instances_can_be_copied_and_sent_to_another_process(instances, duplicate):
    other = duplicate(instances)
    assert other.image_size == (20, 10)
    assert other.pred_boxes.tensor.equal(instances.pred_boxes.tensor)


def test_to_moves_every_field(instances):
    moved = instances.to("meta")
    assert moved.scores.device.type == "meta"
    assert moved.pred_boxes.tensor.device.type == "meta"
    assert len(moved) == 3
