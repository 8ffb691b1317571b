"""The orders that libstdc++'s sort, partial_sort and nth_element give, ties and NaN included.

Genuine Caffe2 sorts by score with these unstable algorithms, so where scores tie the C++ standard leaves the order
open, and what decides it is the library that Caffe2 was built with. Which of two equal boxes comes first decides which
one NMS keeps, so the order is reproduced here, move by move. That is slow and rarely needed: only where the scores that
count are not all different. NaN, which makes no order at all, can take the C++ out of its range; here it stays inside.

Python's heapq makes the same moves as libstdc++'s heap (a hole sinks to a leaf, then the value rises), so it is used.

Source: bits/stl_algo.h and bits/stl_heap.h of GCC 7, which PyTorch 1.10's wheels were built with.
"""

import heapq
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# Up to so many elements libstdc++ leaves a range to insertion sort, which is stable.
_INSERTION_SORT_SIZE = 16
_SELECTION_SIZE = 3


class _Score(float):
    """A score that knows its index. `a > b` means that a goes first."""

    __slots__ = ("index",)
    index: int


class _ScoreAndIndex(_Score):
    """Equal scores go by rising index."""

    __slots__ = ()

    def __gt__(self, other: float) -> bool:
        if float.__gt__(self, other):
            return True
        return not float.__lt__(self, other) and self.index < other.index  # type: ignore[attr-defined]

    def __lt__(self, other: Self) -> bool:  # type: ignore[override]
        return other > self


class _ScoreThenIndex(_ScoreAndIndex):
    """Those that are equal go by rising index; NaN is equal to nothing."""

    __slots__ = ()

    def __gt__(self, other: float) -> bool:
        if float.__eq__(self, other):
            return self.index < other.index  # type: ignore[attr-defined, no-any-return]
        return float.__gt__(self, other)


def descending(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Indices of (n,) scores by falling score, as `std::sort` leaves them."""
    order = np.argsort(-scores, kind="stable")
    in_order = scores[order]
    if bool((in_order[:-1] > in_order[1:]).all()):
        return order
    if len(scores) <= _INSERTION_SORT_SIZE and not np.isnan(scores).any():
        return order
    items = _wrap(_Score, scores, range(len(scores)))
    _sort(items)
    return _indices(items)


def top_descending(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Indices of the `count` < n highest of (n,) scores by falling score, as `std::partial_sort` leaves them."""
    heap = _wrap(_Score, scores, range(count))
    heapq.heapify(heap)
    block_size = 4096
    for start in range(count, len(scores), block_size):
        block = scores[start : start + block_size]
        # The heap's least only rises, so what does not beat it now never will.
        better = np.flatnonzero(block > heap[0])
        for item in _wrap(_Score, block[better], (better + start).tolist()):
            if item > heap[0]:
                heapq.heapreplace(heap, item)
    return _indices(_drain(heap))


def select_descending(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Indices of the `count` highest of (n,) scores by falling score, equal ones by rising index.

    As `std::nth_element` and then `std::sort` leave them with that comparison, which only NaN makes ambiguous.
    """
    if not np.isnan(scores).any():
        return np.argsort(-scores, kind="stable")[:count]
    items = _wrap(_ScoreAndIndex, scores, range(len(scores)))
    if count < len(items):
        _nth_element(items, count)
    selected = items[:count]
    _sort(selected)
    return _indices(selected)


def queue_descending(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Indices of the `count` highest of (n,) scores as a `std::priority_queue` of so many leaves them.

    By falling score, equal ones by rising index, where there is no NaN. One that comes to the queue's end stays there,
    and lets no score in after it.
    """
    if not np.isnan(scores).any():
        return np.argsort(-scores, kind="stable")[:count]
    heap = _wrap(_ScoreThenIndex, scores, range(min(count, len(scores))))
    heapq.heapify(heap)
    for index, score in enumerate(scores[count:].tolist(), start=count):
        if float.__lt__(heap[0], score):
            heapq.heappop(heap)
            item = _ScoreThenIndex(score)
            item.index = index
            heapq.heappush(heap, item)
    return _indices(_drain(heap))


def _wrap(kind: type[_Score], scores: NDArray[np.float32], indices: Sequence[int]) -> list[Any]:
    items = [kind(score) for score in scores[: len(indices)].tolist()]
    for item, index in zip(items, indices, strict=True):
        item.index = index
    return items


def _indices(items: list[Any]) -> NDArray[np.intp]:
    return np.array([item.index for item in items], dtype=np.intp)


def _drain(heap: list[Any]) -> list[Any]:
    return [heapq.heappop(heap) for _ in range(len(heap))][::-1]


def _sort(items: list[Any]) -> None:
    """`std::sort`."""
    _introsort(items, 0, len(items), _depth(len(items)))
    _insertion_sort(items, 0, len(items))


def _introsort(items: list[Any], first: int, last: int, depth: int) -> None:
    while last - first > _INSERTION_SORT_SIZE:
        if depth == 0:
            heap = items[first:last]
            heapq.heapify(heap)
            items[first:last] = _drain(heap)
            return
        depth -= 1
        cut = _partition(items, first, last)
        _introsort(items, cut, last, depth)
        last = cut


def _nth_element(items: list[Any], nth: int) -> None:
    first, last, depth = 0, len(items), _depth(len(items))
    while last - first > _SELECTION_SIZE:
        if depth == 0:
            heap = items[first : nth + 1]
            heapq.heapify(heap)
            for index in range(nth + 1, last):
                if items[index] > heap[0]:
                    items[index] = heapq.heapreplace(heap, items[index])
            items[first : nth + 1] = heap
            items[first], items[nth] = items[nth], items[first]
            return
        depth -= 1
        cut = _partition(items, first, last)
        if cut <= nth:
            first = cut
        else:
            last = cut
    _insertion_sort(items, first, last)


def _depth(count: int) -> int:
    return 2 * (count.bit_length() - 1)


def _partition(items: list[Any], first: int, last: int) -> int:
    """Split [first + 1, last) around the median of three, which goes to `first`; where the second part starts."""
    a, b, c = first + 1, first + (last - first) // 2, last - 1
    if items[a] > items[b]:
        median = b if items[b] > items[c] else c if items[a] > items[c] else a
    else:
        median = a if items[a] > items[c] else c if items[b] > items[c] else b
    items[first], items[median] = items[median], items[first]
    pivot, low, high = items[first], first + 1, last
    while True:
        while low < last - 1 and items[low] > pivot:
            low += 1
        high -= 1
        while high > first and pivot > items[high]:
            high -= 1
        if low >= high:
            return low
        items[low], items[high] = items[high], items[low]
        low += 1


def _insertion_sort(items: list[Any], first: int, last: int) -> None:
    for index in range(first + 1, last):
        value, hole = items[index], index
        # Only the leading elements are first held against the very first; NaN makes that a difference.
        if index - first < _INSERTION_SORT_SIZE and value > items[first]:
            items[first + 1 : index + 1] = items[first:index]
            items[first] = value
            continue
        while hole > first and value > items[hole - 1]:
            items[hole] = items[hole - 1]
            hole -= 1
        items[hole] = value
