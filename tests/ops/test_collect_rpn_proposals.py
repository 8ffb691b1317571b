"""CollectRpnProposals beyond its golden cases."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roastery.errors import OperatorError
from roastery.ops import collect_rpn_proposals


@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.integers(-1, 80), st.integers(0, 2**31))
def test_the_best_of_all_levels_come_best_first(sizes: list[int], limit: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rois = [torch.rand(size, 5, generator=generator) for size in sizes]
    scores = [torch.rand(size, generator=generator) for size in sizes]
    collected = collect_rpn_proposals(
        rois + scores, rpn_max_level=len(sizes) + 1, rpn_min_level=2, rpn_post_nms_topN=limit
    )
    order = torch.argsort(torch.cat(scores), descending=True, stable=True)
    assert torch.equal(collected, torch.cat(rois)[order[: limit if limit > 0 else None]])


def test_one_level_gives_a_copy_and_not_its_input() -> None:
    rois = torch.zeros(1, 5)
    collected = collect_rpn_proposals([rois, torch.zeros(1)], rpn_max_level=2, rpn_min_level=2)
    collected += 1
    assert rois.tolist() == [[0.0] * 5]


def test_a_missing_level_is_refused() -> None:
    with pytest.raises(OperatorError, match=r"^CollectRpnProposals: 2 inputs for levels 2 to 3"):
        collect_rpn_proposals([torch.zeros(1, 5), torch.zeros(1)], rpn_max_level=3)


def test_scores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OperatorError, match=r"^CollectRpnProposals: scores \(2,\) do not fit rois \(1, 5\)"):
        collect_rpn_proposals([torch.zeros(1, 5), torch.zeros(2)], rpn_max_level=2)
