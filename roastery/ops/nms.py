"""Greedy and soft non-maximum suppression, as Caffe2 does it.

A box is kept where its overlap with every kept box before it is <= the threshold; an overlap that is NaN (two boxes
without area) suppresses, unlike torchvision's. Source: caffe2/operators/generate_proposals_op_util_nms.h, PyTorch 1.10.
"""

import numpy as np
from numpy.typing import NDArray

# Rows whose overlaps are worked out at once: few enough for the cache, many enough to pay for the calls.
_BLOCK = 128
# Groups of at least this many boxes are suppressed alone, smaller ones packed together up to a block.
_LARGE_GROUP = 64
# Boxes without area, of infinite size or of NaN are no errors: what comes of them is compared and suppressed.
_IGNORE = np.errstate(divide="ignore", invalid="ignore", over="ignore")


def nms(
    boxes: NDArray[np.float32], threshold: float, limit: int, plus_one: int, groups: NDArray[np.intp] | None = None
) -> NDArray[np.intp]:
    """Rows of the kept boxes, rising.

    Args:
        boxes: (n, 4) xyxy, best first.
        threshold: the largest overlap that is kept.
        limit: stop after so many kept boxes; negative for no limit. Only without groups.
        plus_one: 1 for `legacy_plus_one`, else 0.
        groups: (n,) rising numbers; boxes of different groups do not suppress one another.
    """
    columns = np.ascontiguousarray(boxes.T)
    areas = _areas(columns, plus_one)
    bound = np.float32(threshold)
    alive = np.arange(len(boxes), dtype=np.intp)
    kept: list[NDArray[np.intp]] = []
    count = 0
    while len(alive) and (limit < 0 or count < limit):
        block, alive = alive[:_BLOCK], alive[_BLOCK:]
        suppresses = ~(_overlaps(columns, areas, block, block, plus_one) <= bound)
        if groups is not None:
            suppresses &= groups[block, None] == groups[block]
        chosen = block[_greedy(suppresses)]
        if limit >= 0:
            chosen = chosen[: limit - count]
        kept.append(chosen)
        count += len(chosen)
        if len(alive) and (limit < 0 or count < limit):
            suppressed = ~(_overlaps(columns, areas, chosen, alive, plus_one) <= bound)
            if groups is not None:
                suppressed &= groups[chosen, None] == groups[alive]
            alive = alive[~suppressed.any(axis=0)]
    return np.concatenate(kept) if kept else np.empty(0, np.intp)


def grouped_nms(
    boxes: NDArray[np.float32], sizes: NDArray[np.intp], threshold: float, limit: int, plus_one: int
) -> NDArray[np.intp]:
    """Rows of the kept boxes, rising, of groups that lie one after another.

    Args:
        boxes: (n, 4) xyxy, best first within each group.
        sizes: number of boxes of each group; their sum is n.
        threshold, plus_one: as `nms` takes them.
        limit: the most boxes kept of each group; negative for no limit.
    """
    numbers = np.repeat(np.arange(len(sizes), dtype=np.intp), sizes)
    ends = np.cumsum(sizes)
    kept: list[NDArray[np.intp]] = []
    start = group = 0
    while group < len(sizes):
        if sizes[group] >= _LARGE_GROUP:
            stop, group = int(ends[group]), group + 1
            rows = nms(boxes[start:stop], threshold, limit, plus_one)
        else:
            stop = start
            while group < len(sizes) and sizes[group] < _LARGE_GROUP and ends[group] - start <= _BLOCK:
                stop, group = int(ends[group]), group + 1
            rows = nms(boxes[start:stop], threshold, -1, plus_one, numbers[start:stop])
            if 0 <= limit < _LARGE_GROUP:
                rows = rows[_ranks(numbers[start + rows]) < limit]
        kept.append(start + rows)
        start = stop
    return np.concatenate(kept) if kept else np.empty(0, dtype=np.intp)


def soft_nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    candidates: NDArray[np.intp],
    *,
    sigma: float,
    threshold: float,
    min_score: float,
    gaussian: bool,
    plus_one: int,
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The kept rows in the order in which they were chosen, and all (n,) scores as lowered.

    Each step keeps the best pending box and lowers the scores of the others by their overlap with it; what falls below
    `min_score` is dropped.
    """
    columns = np.ascontiguousarray(boxes.T)
    areas = _areas(columns, plus_one)
    lowered = scores.copy()
    pending = candidates.copy()
    kept = []
    while len(pending):
        best = int(np.argmax(lowered[pending]))
        chosen = pending[best]
        kept.append(chosen)
        # The first takes the place of the best, which settles later ties.
        pending[best] = pending[0]
        pending = pending[1:]
        overlaps = _overlaps(columns, areas, chosen[None], pending, plus_one)[0].astype(np.float64)
        if gaussian:
            weights = np.exp(-overlaps * overlaps / np.float32(sigma))
        else:
            weights = np.where(overlaps > np.float32(threshold), 1.0 - overlaps, 1.0)
        lowered[pending] *= weights.astype(np.float32)
        pending = pending[lowered[pending] >= np.float32(min_score)]
    return np.array(kept, dtype=np.intp), lowered


@_IGNORE
def _areas(columns: NDArray[np.float32], plus_one: int) -> NDArray[np.float32]:
    x1, y1, x2, y2 = columns
    extra = np.float32(plus_one)
    areas: NDArray[np.float32] = (x2 - x1 + extra) * (y2 - y1 + extra)
    return areas


@_IGNORE
def _overlaps(
    columns: NDArray[np.float32],
    areas: NDArray[np.float32],
    rows: NDArray[np.intp],
    others: NDArray[np.intp],
    plus_one: int,
) -> NDArray[np.float32]:
    """Intersection over union of each of `rows` with each of `others`, in Caffe2's order of operations."""
    left, top, right, bottom = columns[:, rows, None]
    other_left, other_top, other_right, other_bottom = columns[:, others]
    extra = np.float32(plus_one)
    width: NDArray[np.float32] = np.minimum(right, other_right)
    scratch = np.maximum(left, other_left)
    width -= scratch
    height = np.minimum(bottom, other_bottom)
    height -= np.maximum(top, other_top, out=scratch)
    if plus_one:
        width += extra
        height += extra
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    union = np.add(areas[rows, None], areas[others], out=scratch)
    union -= width
    width /= union
    return width


def _greedy(suppresses: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The greedy choice: rows that no chosen row before them suppresses.

    All that none before them suppresses is chosen, what that suppresses is not, and so on until nothing changes: the
    choice is the only one that stays, and each round settles at least one row more. There are as many rounds as boxes
    that suppress one another in a row, mostly a few.
    """
    earlier = np.triu(suppresses, 1).astype(np.float32)
    chosen = np.ones(len(suppresses), np.bool_)
    while True:
        again = chosen.astype(np.float32) @ earlier == 0
        if np.array_equal(again, chosen):
            return chosen
        chosen = again


def _ranks(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """The position of each element among those of its (rising) number."""
    return np.arange(len(numbers)) - np.searchsorted(numbers, numbers)
