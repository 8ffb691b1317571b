"""The orders of libstdc++. That they are those, ties and NaN included, the golden cases and genuine Caffe2 prove."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from roastery.ops import std_sort
from roastery.ops.std_sort import descending, select_descending, top_descending

# Few different values, so that most scores tie.
tied_scores = arrays.arrays(np.float32, st.integers(1, 200), elements=st.integers(0, 5).map(float))
scores_with_nan = arrays.arrays(
    np.float32, st.integers(1, 200), elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, float("nan")])
)


@given(tied_scores)
def test_descending_is_a_permutation_that_sorts(scores: NDArray[np.float32]) -> None:
    order = descending(scores)
    assert sorted(order) == list(range(len(scores)))
    assert (np.diff(scores[order]) <= 0).all()


@given(arrays.arrays(np.float32, st.integers(1, 16), elements=st.integers(0, 3).map(float)))
def test_up_to_16_elements_keep_the_order_of_ties(scores: NDArray[np.float32]) -> None:
    assert descending(scores).tolist() == np.argsort(-scores, kind="stable").tolist()


def test_17_equal_elements_do_not() -> None:
    # libstdc++ partitions them once: the middle one becomes the pivot and all others swap around it.
    assert descending(np.zeros(17, np.float32)).tolist() != list(range(17))


@given(tied_scores, st.data())
def test_the_top_holds_the_highest_scores_in_order(scores: NDArray[np.float32], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(scores)))
    order = top_descending(scores, count)
    assert len(set(order.tolist())) == count
    assert scores[order].tolist() == np.sort(scores)[::-1][:count].tolist()


@given(tied_scores, st.data())
def test_a_selection_takes_the_earlier_of_equal_scores(scores: NDArray[np.float32], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(scores)))
    assert select_descending(scores, count).tolist() == np.argsort(-scores, kind="stable")[:count].tolist()


@given(scores_with_nan, st.data())
def test_nan_loses_and_doubles_no_element(scores: NDArray[np.float32], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(scores)))
    assert sorted(descending(scores)) == list(range(len(scores)))
    for order in (top_descending(scores, count), select_descending(scores, count)):
        assert len(set(order.tolist())) == count


def test_a_sort_that_runs_out_of_depth_goes_on_with_a_heap(
    worst_scores: Callable[[int], NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch
) -> None:
    heaps = []

    def spy(heap: list[Any]) -> list[Any]:
        heaps.append(len(heap))
        return drain(heap)

    drain = std_sort._drain
    monkeypatch.setattr(std_sort, "_drain", spy)
    scores = worst_scores(1000)
    order = descending(scores)
    assert max(heaps) > 16
    assert (np.diff(scores[order]) <= 0).all()
    assert sorted(order) == list(range(1000))
