"""LengthsToSegmentIds beyond its cases beside genuine Caffe2."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.export import Dim

from roastery.errors import OperatorError
from roastery.ops import lengths_to_segment_ids


@given(st.lists(st.integers(0, 9), max_size=20))
def test_each_part_is_named_as_often_as_it_is_long(lengths: list[int]) -> None:
    ids = lengths_to_segment_ids(torch.tensor(lengths, dtype=torch.int32))
    assert ids.dtype == torch.int32
    assert ids.tolist() == [part for part, length in enumerate(lengths) for _ in range(length)]


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_parts_without_rows_give_none(lengths: list[int]) -> None:
    assert lengths_to_segment_ids(torch.tensor(lengths, dtype=torch.int32)).shape == (0,)


def test_a_negative_length_is_refused_where_genuine_caffe2_writes_before_its_memory() -> None:
    with pytest.raises(OperatorError, match=r"^LengthsToSegmentIds: a length is negative"):
        lengths_to_segment_ids(torch.tensor([5, -3], dtype=torch.int32))


@pytest.mark.parametrize(
    "lengths", [torch.tensor([1, 2]), torch.tensor([1.0]), torch.zeros(1, 2, dtype=torch.int32), torch.tensor(3).int()]
)
def test_lengths_of_another_type_or_shape_are_refused(lengths: Tensor) -> None:
    with pytest.raises(OperatorError, match=r"^LengthsToSegmentIds: lengths \(.*\) of torch\..*, must be \(n,\) int32"):
        lengths_to_segment_ids(lengths)


def test_how_many_rows_there_are_is_open_in_the_traced_program() -> None:
    class Rows(nn.Module):
        def forward(self, lengths: Tensor, x: Tensor) -> Tensor:
            return x[lengths_to_segment_ids(lengths)]

    sample = (torch.tensor([1, 2], dtype=torch.int32), torch.zeros(2, 3))
    sizes = ({0: Dim("parts", min=1)},) * 2
    program = torch.export.export(Rows(), sample, dynamic_shapes=sizes, strict=False).module()
    x = torch.arange(12.0).reshape(4, 3)
    assert program(torch.tensor([2, 0, 0, 1], dtype=torch.int32), x).equal(x[[0, 0, 3]])
    assert program(torch.tensor([0, 0, 0, 0], dtype=torch.int32), x).shape == (0, 3)
