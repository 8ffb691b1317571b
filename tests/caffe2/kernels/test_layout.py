"""The order in memory changes no number."""

import pytest
import torch

from roastery.caffe2.kernels.layout import in_order


@pytest.mark.parametrize("shape", [(1, 5, 7, 3), (4, 3, 2, 9), (17, 2, 3, 4), (2, 0, 3, 3), (0, 2, 3, 3), (1, 1, 1, 1)])
def test_maps_with_channels_last_are_put_in_order(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = in_order(x.contiguous(memory_format=torch.channels_last))
    assert found.is_contiguous()
    assert torch.equal(found, x)


def test_what_lies_in_order_is_given_back() -> None:
    for x in (torch.zeros(1, 2, 3, 4), torch.zeros(5), torch.zeros(())):
        assert in_order(x) is x


def test_a_cut_and_a_turned_matrix_are_put_in_order() -> None:
    x = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    cut = x.contiguous(memory_format=torch.channels_last)[:, :, 1:5, 2:]
    assert torch.equal(in_order(cut), x[:, :, 1:5, 2:])
    assert in_order(cut).is_contiguous()
    assert in_order(x[0, 0].t()).is_contiguous()
