"""BatchPermutation beyond its golden cases."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roastery.errors import OperatorError
from roastery.ops import batch_permutation


@given(st.permutations(range(12)))
def test_the_inverse_permutation_undoes_a_permutation(order: list[int]) -> None:
    x = torch.arange(12 * 6, dtype=torch.float32).reshape(12, 2, 3)
    forward = torch.tensor(order, dtype=torch.int32)
    inverse = torch.argsort(forward).int()
    assert torch.equal(batch_permutation(batch_permutation(x, forward), inverse), x)


def test_the_identity_gives_a_copy_and_not_its_input() -> None:
    x = torch.ones(2, 3)
    y = batch_permutation(x, torch.tensor([0, 1], dtype=torch.int32))
    y[0] = 5
    assert x.tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("indices", [[0, 2], [-1, 0]])
def test_an_index_out_of_range_is_refused(indices: list[int]) -> None:
    with pytest.raises(OperatorError, match=r"^BatchPermutation: an index lies outside \[0, 2\)"):
        batch_permutation(torch.zeros(2, 3), torch.tensor(indices, dtype=torch.int32))


def test_a_wrong_number_of_indices_is_refused() -> None:
    with pytest.raises(OperatorError, match=r"^BatchPermutation: 1 indices for 2 rows"):
        batch_permutation(torch.zeros(2, 3), torch.zeros(1, dtype=torch.int32))
