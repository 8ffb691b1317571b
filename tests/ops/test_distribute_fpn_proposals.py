"""DistributeFpnProposals beyond its golden cases."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roastery.errors import OperatorError
from roastery.ops import batch_permutation, distribute_fpn_proposals


@given(st.integers(0, 60), st.integers(1, 5), st.integers(0, 2**31))
def test_every_proposal_goes_to_one_level_and_restore_undoes_it(count: int, levels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 500
    sides = 1000 ** torch.rand(count, 2, generator=generator)
    rois = torch.cat([torch.zeros(count, 1), corners, corners + sides], dim=1)
    outputs = distribute_fpn_proposals(rois, roi_min_level=2, roi_max_level=levels + 1, legacy_plus_one=False)
    assert len(outputs) == levels + 1
    *per_level, restore = outputs
    assert sum(len(level) for level in per_level) == count
    assert torch.equal(batch_permutation(torch.cat(per_level), restore), rois)
    for number, level in enumerate(per_level, start=2):
        sizes = ((level[:, 3] - level[:, 1]) * (level[:, 4] - level[:, 2])).sqrt()
        expected = (4 + torch.log2(sizes / 224 + 1e-6)).floor().clamp(2, levels + 1)
        assert (expected == number).all()


@pytest.mark.parametrize(
    ("side", "level"), [(0.0, 2), (111.99, 2), (112.0, 3), (223.9, 3), (224.0, 4), (448.0, 5), (10000.0, 5)]
)
def test_the_canonical_size_lies_on_the_canonical_level(side: float, level: int) -> None:
    *per_level, _ = distribute_fpn_proposals(torch.tensor([[0.0, 0.0, side, side]]), legacy_plus_one=False)
    assert [len(rois) for rois in per_level] == [int(number == level) for number in (2, 3, 4, 5)]


def test_proposals_without_an_image_index_are_of_image_0() -> None:
    first, *_ = distribute_fpn_proposals(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert first.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0]]


@pytest.mark.parametrize("corner", [-1.0, float("nan")])
def test_a_proposal_without_a_sensible_area_is_refused(corner: float) -> None:
    with pytest.raises(OperatorError, match=r"^DistributeFpnProposals: a proposal has a negative area"):
        distribute_fpn_proposals(torch.tensor([[0.0, 0.0, corner, 5.0]]), legacy_plus_one=False)


def test_levels_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(OperatorError, match=r"^DistributeFpnProposals: roi_max_level 3 < roi_min_level 4"):
        distribute_fpn_proposals.kernel(torch.zeros(1, 5), roi_min_level=4, roi_max_level=3)
