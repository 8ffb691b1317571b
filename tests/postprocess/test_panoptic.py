import pytest
import torch

from roastery.postprocess.panoptic import PanopticSettings, merge_segments, resize_logits
from roastery.structures import Instances

EXACT = PanopticSettings(overlap_threshold=0.5, stuff_area_limit=4, confidence_threshold=0.5)


def things(*drawn, size=(4, 6)):
    """Instances of (score, class, rows, columns), each a rectangle."""
    masks = torch.zeros(len(drawn), *size, dtype=torch.bool)
    for mask, (_, _, rows, columns) in zip(masks, drawn, strict=True):
        mask[slice(*rows), slice(*columns)] = True
    return Instances(
        size,
        scores=torch.tensor([each[0] for each in drawn]),
        pred_classes=torch.tensor([each[1] for each in drawn], dtype=torch.int64),
        pred_masks=masks,
    )


def nothing(size=(4, 6)):
    return torch.zeros(size, dtype=torch.int64)


def test_things_come_first_by_falling_score_and_then_what_none_has():
    labels = torch.tensor([[1, 1, 1, 2, 2, 2]] * 4)
    found = things((0.6, 7, (0, 2), (0, 2)), (0.875, 3, (0, 1), (0, 6)))
    ids, segments = merge_segments(found, labels, EXACT)
    # By hand: the better one has the first row, the other what is left of it, and the classes the rest.
    assert ids.tolist() == [[1] * 6, [2, 2, 3, 4, 4, 4], [3] * 3 + [4] * 3, [3] * 3 + [4] * 3]
    assert ids.dtype == torch.int32
    assert segments == [
        {"id": 1, "isthing": True, "score": 0.875, "category_id": 3, "instance_id": 1},
        {"id": 2, "isthing": True, "score": pytest.approx(0.6), "category_id": 7, "instance_id": 0},
        {"id": 3, "isthing": False, "category_id": 1, "area": 7},
        {"id": 4, "isthing": False, "category_id": 2, "area": 9},
    ]


@pytest.mark.parametrize(("columns", "kept"), [((2, 6), True), ((1, 4), False), ((0, 4), False)])
def test_a_thing_may_be_covered_up_to_the_overlap_threshold_and_no_more(columns, kept):
    # The better one has columns 0 to 3: of the other 2 of 4 columns, 3 of 3, 4 of 4.
    found = things((0.9, 1, (0, 4), (0, 4)), (0.8, 2, (0, 4), columns))
    ids, segments = merge_segments(found, nothing(), EXACT)
    assert [segment["category_id"] for segment in segments] == ([1, 2] if kept else [1])
    assert ids[0].tolist() == [1, 1, 1, 1, *([2, 2] if kept else [0, 0])]


def test_a_pixel_more_than_the_overlap_threshold_is_too_many():
    found = things((0.9, 1, (0, 4), (0, 4)), (0.8, 2, (0, 4), (2, 6)))
    found.pred_masks[1, 0, 1] = True
    assert len(merge_segments(found, nothing(), EXACT)[1]) == 1


def test_a_thing_that_is_dropped_covers_nothing():
    found = things((0.9, 1, (0, 4), (0, 4)), (0.8, 2, (0, 4), (1, 5)), (0.7, 3, (0, 4), (4, 6)))
    ids, segments = merge_segments(found, nothing(), EXACT)
    assert [segment["category_id"] for segment in segments] == [1, 3]
    assert ids[0].tolist() == [1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(("score", "kept"), [(0.5, True), (0.49999, False)])
def test_a_thing_scores_the_confidence_threshold_at_least(score, kept):
    _, segments = merge_segments(things((score, 1, (0, 2), (0, 2))), nothing(), EXACT)
    assert len(segments) == kept


@pytest.mark.parametrize(("limit", "kept"), [(6, True), (7, False)])
def test_a_class_has_as_many_pixels_as_the_limit_at_least(limit, kept):
    labels = nothing()
    labels[3] = 5
    ids, segments = merge_segments(things(), labels, PanopticSettings(stuff_area_limit=limit))
    assert segments == ([{"id": 1, "isthing": False, "category_id": 5, "area": 6}] if kept else [])
    assert ids.unique().tolist() == ([0, 1] if kept else [0])


def test_the_pixels_of_a_thing_do_not_count_for_the_class_behind_it():
    labels = torch.full((4, 6), 5)
    found = things((0.9, 1, (0, 4), (0, 5)))
    assert len(merge_segments(found, labels, PanopticSettings(stuff_area_limit=5))[1]) == 1
    assert merge_segments(found, labels, PanopticSettings(stuff_area_limit=4))[1][1]["area"] == 4


def test_a_thing_without_a_pixel_is_no_segment_and_the_next_one_is():
    found = things((0.9, 1, (0, 0), (0, 0)), (0.8, 2, (0, 1), (0, 1)))
    ids, segments = merge_segments(found, nothing(), EXACT)
    assert [(segment["id"], segment["instance_id"]) for segment in segments] == [(1, 1)]
    assert int(ids.sum()) == 1


def test_of_equal_scores_the_one_that_comes_first_is_in_front():
    found = things((0.75, 1, (0, 4), (0, 3)), (0.75, 2, (0, 4), (2, 6)))
    assert merge_segments(found, nothing(), EXACT)[0][0].tolist() == [1, 1, 1, 2, 2, 2]
    # So many that a sort may leave their order.
    many = things(*[(0.75, each, (0, 1), (each, each + 1)) for each in range(500)], size=(1, 500))
    assert merge_segments(many, nothing((1, 500)), EXACT)[0].tolist() == [list(range(1, 501))]


def test_label_0_stands_for_things_and_is_never_a_segment():
    ids, segments = merge_segments(things(), nothing(), PanopticSettings(stuff_area_limit=0))
    assert segments == []
    assert not ids.any()


def test_the_usual_settings_are_detectron2s():
    assert PanopticSettings() == PanopticSettings(0.5, 4096, 0.5)


def test_the_padding_is_cut_off_before_the_logits_are_resized():
    # By hand: the part that was seen is 1 on the left and 3 on the right, the padding would draw its border to 99.
    logits = torch.full((2, 4, 8), 99.0)
    logits[:, :2, :2] = torch.tensor([1.0, 3.0])
    resized = resize_logits(logits, (2, 2), 2, 4)
    assert resized.shape == (2, 2, 4)
    # align_corners=False: a quarter and three quarters between the two pixels' middles.
    assert resized.tolist() == [[[1.0, 1.5, 2.5, 3.0]] * 2] * 2


def test_logits_of_the_size_that_is_asked_for_stay_as_they_are():
    logits = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    assert resize_logits(logits, (5, 7), 5, 7).equal(logits)
    assert resize_logits(logits, (4, 6), 4, 6).equal(logits[:, :4, :6])
