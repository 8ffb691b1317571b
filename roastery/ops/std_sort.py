"""The orders that libstdc++'s sort, partial_sort and nth_element give, ties and NaN included.

Genuine Caffe2 sorts by score with these unstable algorithms, so where scores tie the C++ standard leaves the order
open, and what decides it is the library that Caffe2 was built with. Which of two equal boxes comes first decides which
one NMS keeps, so the order is reproduced here, move by move. That is slow, and rarely needed: callers sort with torch
or numpy first and come here when the scores that count are not all different.

Source: bits/stl_algo.h and bits/stl_heap.h of GCC 7, which PyTorch 1.10's wheels were built with.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Below this many elements libstdc++ leaves a range to insertion sort, which is stable.
INSERTION_SORT_SIZE = 16

Before = Callable[[int, int], bool]


def descending(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Indices of (n,) scores by falling score, as `std::sort` leaves them (`scores[a] > scores[b]`)."""
    order = np.argsort(-scores, kind="stable")
    if len(scores) <= INSERTION_SORT_SIZE and not np.isnan(scores).any():
        return order
    if _all_different(scores[order]):
        return order
    items = list(range(len(scores)))
    sort(items, 0, len(items), _greater(scores))
    return np.array(items, dtype=np.intp)


def top_descending(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Indices of the `count` < n highest scores by falling score, as `std::partial_sort` leaves them."""
    items = list(range(count))
    before = _greater(scores)
    _make_heap(items, 0, count, before)
    # The heap's top only rises, so what does not beat it now never will. NaN beats nothing and nothing beats NaN.
    start, step = count, 4096
    while start < len(scores):
        block = scores[start : start + step]
        top = scores[items[0]]
        if np.isnan(top):
            break
        for index in (np.flatnonzero(block > top) + start).tolist():
            if before(index, items[0]):
                _adjust_heap(items, 0, 0, count, index, before)
        start += step
    _sort_heap(items, 0, count, before)
    return np.array(items, dtype=np.intp)


def select_descending(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Indices of the `count` highest of (n,) scores by falling score, ties by rising index.

    As `std::nth_element` and `std::sort` leave them with that comparison; only NaN makes it ambiguous.
    """
    total = len(scores)
    if not np.isnan(scores).any():
        return np.argsort(-scores, kind="stable")[:count]
    values = scores.tolist()

    def before(a: int, b: int) -> bool:
        if values[a] > values[b]:
            return True
        return not values[a] < values[b] and a < b

    items = list(range(total))
    if count < total:
        _nth_element(items, count, before)
    sort(items, 0, count, before)
    return np.array(items[:count], dtype=np.intp)


def sort(items: list[int], first: int, last: int, before: Before) -> None:
    """`std::sort` of items[first:last]. With NaN it is kept from running out of the range, as the C++ may."""
    if last - first < 2:
        return
    _introsort(items, first, last, 2 * ((last - first).bit_length() - 1), before)
    _insertion_sort(items, first, last, before)


def _all_different(descending_scores: NDArray[np.float32]) -> bool:
    return bool((descending_scores[:-1] > descending_scores[1:]).all())


def _greater(scores: NDArray[np.float32]) -> Before:
    values = scores.tolist()
    return lambda a, b: bool(values[a] > values[b])


def _introsort(items: list[int], first: int, last: int, depth: int, before: Before) -> None:
    while last - first > INSERTION_SORT_SIZE:
        if depth == 0:
            _make_heap(items, first, last - first, before)
            _sort_heap(items, first, last - first, before)
            return
        depth -= 1
        cut = _partition(items, first, last, before)
        _introsort(items, cut, last, depth, before)
        last = cut


def _nth_element(items: list[int], nth: int, before: Before) -> None:
    first, last = 0, len(items)
    depth = 2 * (last.bit_length() - 1)
    while last - first > 3:
        if depth == 0:
            size = nth + 1 - first
            _make_heap(items, first, size, before)
            for index in range(nth + 1, last):
                if before(items[index], items[first]):
                    value, items[index] = items[index], items[first]
                    _adjust_heap(items, first, 0, size, value, before)
            items[first], items[nth] = items[nth], items[first]
            return
        depth -= 1
        cut = _partition(items, first, last, before)
        if cut <= nth:
            first = cut
        else:
            last = cut
    _insertion_sort(items, first, last, before)


def _partition(items: list[int], first: int, last: int, before: Before) -> int:
    _median_to(items, first, first + 1, first + (last - first) // 2, last - 1, before)
    pivot, low, high = items[first], first + 1, last
    while True:
        while low < last - 1 and before(items[low], pivot):
            low += 1
        high -= 1
        while high > first and before(pivot, items[high]):
            high -= 1
        if low >= high:
            return low
        items[low], items[high] = items[high], items[low]
        low += 1


def _median_to(items: list[int], target: int, a: int, b: int, c: int, before: Before) -> None:
    if before(items[a], items[b]):
        median = b if before(items[b], items[c]) else c if before(items[a], items[c]) else a
    else:
        median = a if before(items[a], items[c]) else c if before(items[b], items[c]) else b
    items[target], items[median] = items[median], items[target]


def _insertion_sort(items: list[int], first: int, last: int, before: Before) -> None:
    for index in range(first + 1, last):
        value, hole = items[index], index
        # Only within the leading elements is the front tried first; that matters where NaN makes no order.
        if index - first < INSERTION_SORT_SIZE and before(value, items[first]):
            items[first + 1 : index + 1] = items[first:index]
            items[first] = value
            continue
        while hole > first and before(value, items[hole - 1]):
            items[hole] = items[hole - 1]
            hole -= 1
        items[hole] = value


def _make_heap(items: list[int], first: int, size: int, before: Before) -> None:
    for parent in range((size - 2) // 2, -1, -1):
        _adjust_heap(items, first, parent, size, items[first + parent], before)


def _sort_heap(items: list[int], first: int, size: int, before: Before) -> None:
    for end in range(size - 1, 0, -1):
        value, items[first + end] = items[first + end], items[first]
        _adjust_heap(items, first, 0, end, value, before)


def _adjust_heap(items: list[int], first: int, hole: int, size: int, value: int, before: Before) -> None:
    top = child = hole
    while child < (size - 1) // 2:
        child = 2 * (child + 1)
        if before(items[first + child], items[first + child - 1]):
            child -= 1
        items[first + hole] = items[first + child]
        hole = child
    if size % 2 == 0 and child == (size - 2) // 2:
        child = 2 * (child + 1)
        items[first + hole] = items[first + child - 1]
        hole = child - 1
    parent = (hole - 1) // 2
    while hole > top and before(items[first + parent], value):
        items[first + hole] = items[first + parent]
        hole = parent
        parent = (hole - 1) // 2
    items[first + hole] = value
