"""TopK beyond its cases beside genuine Caffe2."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roastery.errors import OperatorError
from roastery.ops import top_k

NAN = float("nan")


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.integers(1, 40))
def test_the_largest_come_first_and_of_equal_ones_the_earlier(numbers: list[int], k: int) -> None:
    k = min(k, len(numbers))
    values, indices = top_k(torch.tensor(numbers, dtype=torch.float32), k=k)
    assert indices.tolist() == sorted(range(len(numbers)), key=lambda place: (-numbers[place], place))[:k]
    assert values.tolist() == [numbers[place] for place in indices.tolist()]


def test_each_row_is_chosen_from_alone() -> None:
    x = torch.tensor([[[1.0, 4.0, 2.0], [9.0, 8.0, 9.0]], [[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0]]])
    values, indices = top_k(x, k=2)
    assert values.tolist() == [[[4, 2], [9, 9]], [[-1, -1], [0, 0]]]
    assert indices.tolist() == [[[1, 2], [0, 2]], [[0, 2], [0, 1]]]
    assert (values.dtype, indices.dtype) == (torch.float32, torch.int64)


def test_where_there_are_fewer_than_k_the_rest_is_0_at_place_minus_1() -> None:
    values, indices = top_k(torch.tensor([[-2.0, -1.0]]), k=4)
    assert values.tolist() == [[-1, -2, 0, 0]]
    assert indices.tolist() == [[1, 0, -1, -1]]


@pytest.mark.parametrize(("shape", "expected"), [((0,), (3,)), ((2, 0), (2, 3)), ((0, 5), (0, 3))])
def test_of_nothing_there_is_nothing_to_choose(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    values, indices = top_k(torch.zeros(shape), k=3)
    assert values.shape == indices.shape == expected
    assert not values.any()
    assert (indices == -1).all()


def test_any_axis_is_chosen_along() -> None:
    values, indices = top_k(torch.tensor([[3.0, 1.0, 3.0], [2.0, 3.0, 3.0]]), k=1, axis=0)
    assert values.tolist() == [[3, 3, 3]]
    assert indices.tolist() == [[0, 1, 0]]


# What genuine Caffe2 gave.
@pytest.mark.parametrize(
    ("numbers", "k", "places"),
    [
        ([NAN, 1, 2, 3], 1, [0]),
        ([NAN, 1, 2, 3], 2, [2, 0]),
        ([NAN, 1, 2, 3], 4, [0, 3, 2, 1]),
        ([1, NAN, 2, 3], 1, [3]),
        ([1, 2, 3, NAN], 3, [2, 1, 0]),
        ([NAN, NAN, 1, 2], 3, [3, 0, 1]),
        ([3, 2, NAN, 1, 5], 3, [0, 1, 2]),
    ],
)
def test_beside_nan_it_is_what_caffe2s_queue_makes_of_it(numbers: list[float], k: int, places: list[int]) -> None:
    values, indices = top_k(torch.tensor(numbers), k=k)
    assert indices.tolist() == places
    np.testing.assert_array_equal(values.numpy(), np.array(numbers, np.float32)[places])


@pytest.mark.parametrize("k", [0, -1])
def test_none_at_all_is_refused(k: int) -> None:
    with pytest.raises(OperatorError, match=rf"^TopK: k is {k}, must be at least 1"):
        top_k(torch.zeros(3), k=k)


@pytest.mark.parametrize(("shape", "axis"), [((), -1), ((2, 3), 2), ((2, 3), -2)])
def test_an_axis_that_is_not_there_is_refused(shape: tuple[int, ...], axis: int) -> None:
    with pytest.raises(OperatorError, match=rf"^TopK: axis {axis} of "):
        top_k(torch.zeros(shape), k=1, axis=axis)


def test_other_numbers_than_float32_are_refused() -> None:
    with pytest.raises(OperatorError, match=r"^TopK: x is of torch\.int64, must be float32"):
        top_k(torch.arange(3), k=1)


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, 2.0, NAN]), min_size=6, max_size=6), min_size=1, max_size=8))
def test_rows_are_chosen_from_together_as_each_alone(rows: list[list[float]]) -> None:
    x = torch.tensor(rows)
    values, indices = top_k(x, k=4)
    for row, row_values, row_indices in zip(x, values, indices, strict=True):
        alone_values, alone_indices = top_k(row, k=4)
        assert torch.equal(row_indices, alone_indices)
        np.testing.assert_array_equal(row_values.numpy(), alone_values.numpy())
