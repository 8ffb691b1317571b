import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from roastery.evaluation.parity import REFERENCE, TENSOR, compare_detections, compare_instances
from roastery.structures import Boxes, Instances


@pytest.fixture
def outputs():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 100, (5, 2))
    return {
        "bbox_nms": np.concatenate([corners, corners + rng.uniform(5, 50, (5, 2))], 1).astype(np.float32),
        "score_nms": np.array([0.9, 0.8, 0.3, 0.95, 0.2], np.float32),
        "class_nms": np.array([0, 0, 0, 2, 2], np.float32),
        "mask_fcn_probs": rng.uniform(0, 1, (5, 3, 28, 28)).astype(np.float32),
    }


def copied(outputs):
    return {name: array.copy() for name, array in outputs.items()}


def permuted(outputs, order):
    return {name: array[order] for name, array in outputs.items()}


def test_the_bounds_are_those_of_the_design():
    assert (TENSOR.boxes, TENSOR.scores, TENSOR.maps) == (0.01, 1e-4, 1e-3)
    assert (REFERENCE.boxes, REFERENCE.scores, REFERENCE.mask_iou, REFERENCE.keypoints) == (0.05, 1e-3, 0.99, 0.5)


def test_equal_outputs_agree_with_no_difference(outputs):
    report = compare_detections(outputs, copied(outputs))
    assert report.passed
    assert report.differences == ()
    assert report.largest == {"bbox_nms": 0.0, "score_nms": 0.0, "mask_fcn_probs": 0.0}


@pytest.mark.parametrize(
    ("name", "offset", "passes"),
    [
        ("bbox_nms", 0.009, True),
        ("bbox_nms", 0.02, False),
        ("score_nms", 0.9e-4, True),
        ("score_nms", 2e-4, False),
        ("mask_fcn_probs", 0.9e-3, True),
        ("mask_fcn_probs", 2e-3, False),
    ],
)
def test_one_number_beyond_its_tolerance_fails_and_is_named(outputs, name, offset, passes):
    outputs["mask_fcn_probs"][0, 0, 0, 0] = 1.0
    actual = copied(outputs)
    actual[name].reshape(-1)[1] += np.float32(offset)
    report = compare_detections(outputs, actual)
    assert report.passed is passes
    assert report.largest[name] == pytest.approx(offset, rel=0.01)
    assert all(difference.startswith(f"{name}, class 0: 1 of 3 differ by up to") for difference in report.differences)


def test_a_swapped_class_fails_and_both_classes_are_named(outputs):
    actual = copied(outputs)
    actual["class_nms"][1] = 1
    report = compare_detections(outputs, actual)
    assert report.differences == (
        "class 0: 3 detections expected, 2 given",
        "class 1: 0 detections expected, 1 given",
    )


def test_two_classes_swapped_with_each_other_fail(outputs):
    actual = copied(outputs)
    actual["class_nms"] = np.array([2, 0, 0, 0, 2], np.float32)
    assert not compare_detections(outputs, actual).passed


def test_detections_may_come_in_another_order(outputs):
    assert compare_detections(outputs, permuted(outputs, [4, 2, 0, 3, 1])).passed


def test_near_ties_may_swap_their_order(outputs):
    outputs["score_nms"][:2] = [0.8, 0.79999995]
    actual = permuted(outputs, [1, 0, 2, 3, 4])
    actual["score_nms"] = outputs["score_nms"].copy()
    assert compare_detections(outputs, actual).passed


def test_a_row_whose_score_belongs_to_another_box_fails(outputs):
    actual = copied(outputs)
    actual["score_nms"] = outputs["score_nms"][[1, 0, 2, 3, 4]]
    assert not compare_detections(outputs, actual).passed


def test_a_map_that_belongs_to_another_box_fails(outputs):
    actual = copied(outputs)
    actual["mask_fcn_probs"] = outputs["mask_fcn_probs"][[1, 0, 2, 3, 4]]
    assert not compare_detections(outputs, actual).passed


def test_equal_boxes_with_different_maps_are_told_apart_in_either_order(outputs):
    outputs["bbox_nms"][1], outputs["score_nms"][1] = outputs["bbox_nms"][0], outputs["score_nms"][0]
    assert compare_detections(outputs, permuted(outputs, [1, 0, 2, 3, 4])).passed


@pytest.mark.parametrize("kept", [0, 4])
def test_fewer_detections_fail_in_either_direction_even_if_the_first_ones_agree(outputs, kept):
    fewer = permuted(outputs, list(range(kept)))
    assert f"5 detections expected, {kept} given" in compare_detections(outputs, fewer).differences
    assert f"{kept} detections expected, 5 given" in compare_detections(fewer, outputs).differences


def test_nothing_agrees_with_nothing(outputs):
    empty = permuted(outputs, [])
    assert compare_detections(empty, copied(empty)).passed


@pytest.mark.parametrize("name", ["bbox_nms", "score_nms", "class_nms", "mask_fcn_probs"])
def test_an_output_that_is_missing_or_surplus_fails_by_name(outputs, name):
    fewer = copied(outputs)
    del fewer[name]
    assert compare_detections(outputs, fewer).differences[0] == f"output {name} is missing"
    assert compare_detections(fewer, outputs).differences[0] == f"output {name} is surplus"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["bbox_nms", "score_nms", "class_nms", "mask_fcn_probs", "sem_seg"])
def test_a_number_that_is_none_fails_even_if_both_have_it(outputs, name, value):
    outputs["sem_seg"] = np.zeros((1, 3, 4, 4), np.float32)
    outputs[name].reshape(-1)[0] = value
    report = compare_detections(outputs, copied(outputs))
    assert f"{name}: 1 numbers expected are NaN or infinite" in report.differences
    assert f"{name}: 1 numbers given are NaN or infinite" in report.differences


def test_nan_on_one_side_fails(outputs):
    actual = copied(outputs)
    actual["mask_fcn_probs"][3, 1, 2, 3] = np.nan
    assert not compare_detections(outputs, actual).passed
    assert not compare_detections(actual, outputs).passed


def test_any_other_output_is_compared_by_its_largest_value():
    expected = {"sem_seg": np.array([[100.0, -200.0]]), "box_cls_0": np.zeros((1, 2))}
    near = {"sem_seg": np.array([[100.19, -200.0]]), "box_cls_0": np.zeros((1, 2))}
    far = {"sem_seg": np.array([[100.21, -200.0]]), "box_cls_0": np.full((1, 2), 1e-9)}
    assert compare_detections(expected, near).passed
    assert compare_detections(expected, far).differences == (
        "sem_seg: differs by up to 0.00105, allowed 0.001",
        "box_cls_0: differs by up to 1, allowed 0.001",
    )


def test_a_map_of_another_shape_fails_even_where_numpy_would_broadcast(outputs):
    outputs["sem_seg"] = np.ones((1, 3, 4, 4), np.float32)
    actual = {**outputs, "sem_seg": np.ones((1, 1, 4, 4), np.float32), "mask_fcn_probs": np.ones((5, 1, 28, 28))}
    assert compare_detections(outputs, actual).differences == (
        "mask_fcn_probs: shape (5, 3, 28, 28) expected, (5, 1, 28, 28) given",
        "sem_seg: shape (1, 3, 4, 4) expected, (1, 1, 4, 4) given",
    )


def test_a_side_whose_rows_have_no_common_length_fails(outputs):
    actual = {**outputs, "score_nms": outputs["score_nms"][:4]}
    assert "detections given have no common length" in compare_detections(outputs, actual).differences[0]
    assert "detections expected have no common length" in compare_detections(actual, outputs).differences[0]


def test_without_boxes_on_both_sides_every_output_is_compared_as_it_stands():
    assert not compare_detections({"score_nms": np.array([0.1])}, {"score_nms": np.array([0.9])}).passed


def test_in_a_batch_a_detection_must_be_in_its_image(outputs):
    expected = {**outputs, "batch_splits": np.array([2.0, 3.0])}
    assert compare_detections(expected, copied(expected)).passed
    # Rows 1 and 2 change places across the images, with equal classes.
    moved = {**permuted(outputs, [0, 2, 1, 3, 4]), "batch_splits": np.array([2.0, 3.0])}
    assert not compare_detections(expected, moved).passed
    assert not compare_detections(expected, {**outputs, "batch_splits": np.array([3.0, 2.0])}).passed


def test_all_that_differs_is_said_at_once_names_then_counts_then_values(outputs):
    actual = permuted(outputs, [0, 1, 3, 4])
    actual["score_nms"][2] += 0.01
    del actual["mask_fcn_probs"]
    assert compare_detections(outputs, actual).differences == (
        "output mask_fcn_probs is missing",
        "5 detections expected, 4 given",
        "class 0: 3 detections expected, 2 given",
        "score_nms, class 2: 1 of 2 differ by up to 0.01, allowed 0.0001",
    )


@st.composite
def nets(draw):
    """Outputs of a net, with many ties; and others near or far from them."""
    count = draw(st.integers(0, 6))

    def numbers(shape, values):
        return draw(hnp.arrays(np.float32, shape, elements=st.sampled_from(values)))

    outputs = {
        "bbox_nms": numbers((count, 4), [0.0, 10.0, 10.009, 10.02]),
        "score_nms": numbers((count,), [0.5, 0.50005, 0.6]),
        "class_nms": numbers((count,), [0.0, 1.0]),
    }
    if draw(st.booleans()):
        outputs["mask_fcn_probs"] = numbers((count, 2, 1, 1), [0.0, 0.5, 1.0])
    if draw(st.booleans()):
        outputs["sem_seg"] = numbers((1, 2), [0.0, 1.0, 1.0005, 1e30])
    return outputs


@given(nets(), st.randoms(use_true_random=False))
def test_anything_agrees_with_itself_in_any_order(outputs, random):
    order = list(range(len(outputs["bbox_nms"])))
    random.shuffle(order)
    shuffled = {name: array if name == "sem_seg" else array[order] for name, array in outputs.items()}
    assert compare_detections(outputs, outputs).passed
    assert compare_detections(outputs, shuffled).passed


@given(nets(), nets(), st.randoms(use_true_random=False))
def test_the_verdict_is_the_same_in_both_directions_and_in_any_order(left, right, random):
    order = list(range(len(right["bbox_nms"])))
    random.shuffle(order)
    shuffled = {name: array if name == "sem_seg" else array[order] for name, array in right.items()}
    verdict = compare_detections(left, right).passed
    assert compare_detections(right, left).passed is verdict
    assert compare_detections(left, shuffled).passed is verdict


@given(nets(), st.data())
def test_a_detection_moved_by_more_than_the_tolerance_is_always_seen(outputs, data):
    count = len(outputs["bbox_nms"])
    if count == 0:
        return
    moved = copied(outputs)
    row = data.draw(st.integers(0, count - 1))
    moved["bbox_nms"][row, data.draw(st.integers(0, 3))] += np.float32(100.0)
    assert not compare_detections(outputs, moved).passed


@pytest.fixture
def instances():
    masks = torch.zeros(3, 40, 50, dtype=torch.bool)
    masks[0, 5:25, 5:25] = True
    masks[1, 10:30, 20:40] = True
    return Instances(
        (40, 50),
        pred_boxes=Boxes(torch.tensor([[5.0, 5.0, 25.0, 25.0], [20.0, 10.0, 40.0, 30.0], [1.0, 1.0, 4.0, 4.0]])),
        scores=torch.tensor([0.9, 0.8, 0.3]),
        pred_classes=torch.tensor([1, 1, 0]),
        pred_masks=masks,
    )


def changed(instances, **fields):
    return Instances(instances.image_size, **{**instances.get_fields(), **fields})


def test_instances_agree_with_themselves_in_any_order(instances):
    # The third mask is empty on both sides.
    report = compare_instances(instances, instances[torch.tensor([2, 1, 0])])
    assert report.passed
    assert report.largest == {"pred_boxes": 0.0, "scores": 0.0, "pred_masks": 0.0}


@pytest.mark.parametrize(("cut", "passes"), [(4, True), (5, False)])
def test_masks_may_differ_by_an_iou_of_0_99(instances, cut, passes):
    # 20 x 20 = 400 pixels: 4 less are an IoU of 0.99.
    masks = instances.pred_masks.clone()
    masks[0, 5, 5 : 5 + cut] = False
    report = compare_instances(instances, changed(instances, pred_masks=masks))
    assert report.passed is passes
    assert report.largest["pred_masks"] == pytest.approx(cut / 400)


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({"scores": torch.tensor([0.9009, 0.8, 0.3])}, True),
        ({"scores": torch.tensor([0.902, 0.8, 0.3])}, False),
        ({"pred_classes": torch.tensor([1, 0, 1])}, False),
        ({"pred_boxes": Boxes(torch.tensor([[5.04, 5, 25, 25], [20, 10, 40, 30], [1, 1, 4, 4.0]]))}, True),
        ({"pred_boxes": Boxes(torch.tensor([[5.06, 5, 25, 25], [20, 10, 40, 30], [1, 1, 4, 4.0]]))}, False),
    ],
)
def test_instances_may_differ_by_the_tolerances_of_the_reference(instances, fields, passes):
    assert compare_instances(instances, changed(instances, **fields)).passed is passes
    assert compare_instances(changed(instances, **fields), instances).passed is passes


def test_no_instances_agree_only_with_no_instances(instances):
    none = instances[torch.tensor([], dtype=torch.int64)]
    assert compare_instances(none, none).passed
    assert not compare_instances(instances, none).passed
    assert not compare_instances(none, instances).passed


def test_a_field_that_one_lacks_fails(instances):
    without = changed(instances)
    without.remove("pred_masks")
    assert compare_instances(instances, without).differences == ("field pred_masks is missing",)
    assert compare_instances(without, instances).differences == ("field pred_masks is surplus",)


def test_instances_that_both_lack_what_they_are_matched_by_do_not_agree(instances):
    without = changed(instances)
    without.remove("scores")
    assert "field scores is missing" in compare_instances(without, without).differences


def test_another_image_size_fails(instances):
    other = Instances((50, 40), **{name: instances.get(name) for name in ("pred_boxes", "scores", "pred_classes")})
    without = changed(instances)
    without.remove("pred_masks")
    assert compare_instances(without, other).differences == ("image size: (40, 50) expected, (50, 40) given",)


@pytest.mark.parametrize(("off", "passes"), [(0.4, True), (0.6, False)])
def test_keypoints_may_be_half_a_pixel_off_and_their_scores_anything(off, passes):
    def one(x):
        return Instances(
            (20, 20),
            pred_boxes=Boxes(torch.tensor([[1.0, 1.0, 9.0, 9.0]])),
            scores=torch.tensor([0.5]),
            pred_classes=torch.tensor([0]),
            pred_keypoints=torch.tensor([[[x, 4.0, 0.3], [5.0, 6.0, 0.2]]]),
        )

    report = compare_instances(one(3.0), one(3.0 + off), REFERENCE)
    assert report.passed is passes
    assert report.largest["pred_keypoints"] == pytest.approx(off, abs=1e-5)


@pytest.fixture
def proposals():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 100, (6, 2))
    images = np.array([[0], [0], [0], [1], [1], [1]])
    boxes = np.concatenate([images, corners, corners + rng.uniform(5, 50, (6, 2))], 1).astype(np.float32)
    return {"rpn_rois": boxes, "rpn_roi_probs": rng.uniform(-9, 9, 6).astype(np.float32)}


@pytest.mark.parametrize(
    ("name", "offset", "passes"),
    [
        ("rpn_rois", 0.009, True),
        ("rpn_rois", 0.02, False),
        ("rpn_roi_probs", 0.9e-4, True),
        ("rpn_roi_probs", 2e-4, False),
    ],
)
def test_proposals_are_held_to_the_bounds_of_boxes_and_scores_in_whatever_order(proposals, name, offset, passes):
    actual = copied(proposals)
    actual[name].reshape(-1)[-1] += np.float32(offset)
    report = compare_detections(proposals, permuted(actual, [2, 0, 1, 5, 4, 3]))
    assert report.passed is passes
    assert passes or [difference.split(",")[0] for difference in report.differences] == [name]


def test_a_proposal_of_another_image_is_a_difference(proposals):
    actual = copied(proposals)
    actual["rpn_rois"][2, 0] = 1
    assert not compare_detections(proposals, actual).passed
