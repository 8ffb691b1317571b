"""NMS against its definition, box by box."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from roastery.ops.nms import grouped_nms, nms, soft_nms


@st.composite
def box_lists(draw: st.DrawFn, most: int = 300) -> NDArray[np.float32]:
    """Boxes with corners on a coarse grid: many overlap, touch, coincide or have no area."""
    count = draw(st.integers(0, most))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corners = generator.integers(0, 30, (count, 2))
    return np.concatenate([corners, corners + generator.integers(0, 12, (count, 2))], axis=1).astype(np.float32)


def overlaps(boxes: NDArray[np.float32], plus_one: int) -> NDArray[np.float32]:
    """Intersection over union of each box with each."""
    extra = np.float32(plus_one)
    sides = np.minimum(boxes[:, None, 2:], boxes[:, 2:]) - np.maximum(boxes[:, None, :2], boxes[:, :2]) + extra
    intersections = np.prod(np.maximum(sides, 0), axis=2)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + extra, axis=1)
    with np.errstate(invalid="ignore"):
        return intersections / (areas[:, None] + areas - intersections)


def greedy(boxes: NDArray[np.float32], threshold: float, plus_one: int) -> list[int]:
    kept: list[int] = []
    # A NaN overlap is not <= the threshold, so it suppresses.
    lets_live = overlaps(boxes, plus_one) <= np.float32(threshold)
    for row in range(len(boxes)):
        if lets_live[kept, row].all():
            kept.append(row)
    return kept


thresholds = st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0])
plus_ones = st.integers(0, 1)


@given(box_lists(), thresholds, plus_ones)
def test_nms_is_the_greedy_choice(boxes: NDArray[np.float32], threshold: float, plus_one: int) -> None:
    assert nms(boxes, threshold, -1, plus_one).tolist() == greedy(boxes, threshold, plus_one)


@given(box_lists(), thresholds, plus_ones)
def test_no_two_kept_boxes_overlap_more_than_the_threshold(
    boxes: NDArray[np.float32], threshold: float, plus_one: int
) -> None:
    kept = boxes[nms(boxes, threshold, -1, plus_one)]
    assert (overlaps(kept, plus_one)[np.tril_indices(len(kept), -1)] <= np.float32(threshold)).all()


@given(box_lists(), thresholds, st.integers(0, 40))
def test_a_limit_keeps_the_first_of_what_no_limit_keeps(
    boxes: NDArray[np.float32], threshold: float, limit: int
) -> None:
    assert nms(boxes, threshold, limit, 0).tolist() == nms(boxes, threshold, -1, 0).tolist()[:limit]


@given(st.lists(box_lists(90), max_size=6), thresholds, st.sampled_from([-1, 1, 5, 70]))
def test_groups_are_suppressed_as_if_each_were_alone(
    groups: list[NDArray[np.float32]], threshold: float, limit: int
) -> None:
    sizes = np.array([len(group) for group in groups], np.intp)
    starts = np.cumsum(sizes) - sizes
    boxes = np.concatenate([np.empty((0, 4), np.float32), *groups])
    expected: list[Any] = []
    for start, group in zip(starts, groups, strict=True):
        expected += (start + nms(group, threshold, limit, 0)).tolist()
    assert grouped_nms(boxes, sizes, threshold, limit, 0).tolist() == expected


@given(box_lists(40), st.booleans(), st.integers(0, 2**32 - 1))
def test_soft_nms_lowers_scores_and_keeps_none_below_the_least(
    boxes: NDArray[np.float32], gaussian: bool, seed: int
) -> None:
    scores = np.random.default_rng(seed).random(len(boxes)).astype(np.float32)
    candidates = np.flatnonzero(scores > 0.2)
    kept, lowered = soft_nms(
        boxes, scores, candidates, sigma=0.5, threshold=0.3, min_score=0.1, gaussian=gaussian, plus_one=1
    )
    assert set(kept.tolist()) <= set(candidates.tolist())
    assert len(set(kept.tolist())) == len(kept)
    assert (lowered <= scores).all()
    assert (lowered[kept] >= np.float32(0.1)).all()
    # Each was the best when it was chosen, and scores only fall.
    assert (np.diff(lowered[kept]) <= 0).all()


def test_two_boxes_without_area_suppress_each_other() -> None:
    # Their overlap is 0 / 0; torchvision would keep both.
    boxes = np.array([[3, 3, 3, 3], [8, 8, 8, 8], [0, 0, 5, 5]], np.float32)
    assert nms(boxes, 0.5, -1, 0).tolist() == [0, 2]


def test_an_overlap_equal_to_the_threshold_is_kept() -> None:
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1]], np.float32)
    assert nms(boxes, 0.5, -1, 0).tolist() == [0, 1]
    assert nms(boxes, 0.49, -1, 0).tolist() == [0]


def test_boxes_that_suppress_one_another_in_a_row_are_chosen_in_turn() -> None:
    """Each overlaps its neighbours alone, so that every second one stays: the longest row of decisions there is."""
    starts = np.arange(300, dtype=np.float32)
    boxes = np.stack([starts, np.zeros_like(starts), starts + 1.5, np.ones_like(starts)], axis=1)
    assert nms(boxes, 0.1, -1, 0).tolist() == list(range(0, 300, 2))


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), thresholds)
def test_many_boxes_in_one_place_are_chosen_greedily(seed: int, count: int, threshold: float) -> None:
    generator = np.random.default_rng(seed)
    corners = generator.integers(0, 6, (count, 2))
    boxes = np.concatenate([corners, corners + generator.integers(0, 6, (count, 2))], axis=1).astype(np.float32)
    assert nms(boxes, threshold, -1, 0).tolist() == greedy(boxes, threshold, 0)
