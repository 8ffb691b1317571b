"""Shape beyond its cases beside genuine Caffe2."""

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from roastery.errors import OperatorError
from roastery.ops import shape


@pytest.mark.parametrize("sizes", [(), (0,), (4,), (2, 0, 3), (1, 2, 3, 4, 5)])
def test_the_sizes_of_all_axes_are_given_as_int64(sizes: tuple[int, ...]) -> None:
    found = shape(torch.zeros(sizes))
    assert (found.dtype, found.shape, found.tolist()) == (torch.int64, (len(sizes),), list(sizes))


def test_the_axes_that_are_named_are_given_in_their_order() -> None:
    assert shape(torch.zeros(2, 3, 4), axes=[2, 0, 2]).tolist() == [4, 2, 4]


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.bool, torch.uint8])
def test_numbers_of_any_type_have_a_shape(dtype: torch.dtype) -> None:
    assert shape(torch.zeros(2, 3, dtype=dtype)).tolist() == [2, 3]


@pytest.mark.parametrize("axes", [[2], [0, -1]])
def test_an_axis_that_is_not_there_is_refused(axes: list[int]) -> None:
    with pytest.raises(OperatorError, match=r"^Shape: axes \[.*\] of a tensor with 2"):
        shape(torch.zeros(2, 3), axes=axes)


def test_a_size_is_no_constant_of_the_traced_program() -> None:
    class Sizes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return shape(x, axes=[1, 0])

    program = torch.export.export(
        Sizes(), (torch.zeros(4, 5),), dynamic_shapes=({0: Dim("rows", min=1)},), strict=False
    ).module()
    assert program(torch.zeros(7, 5)).tolist() == [5, 7]
