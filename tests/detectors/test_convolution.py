"""Norms: PyTorch's own at inference, of no RoIs too."""

import pytest
import torch
from torch import nn

from roastery.detectors.convolution import build_norm

KINDS = ("FrozenBN", "BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N", "GN")


def norm(kind: str) -> nn.Module:
    built = build_norm(kind, 32, "KEY")
    assert built is not None
    torch.manual_seed(0)
    for name, tensor in built.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "var" in name or "weight" in name else tensor.normal_()
    return built.eval().requires_grad_(False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_norm_gives_what_pytorchs_own_gives(kind: str) -> None:
    ours, x = norm(kind), torch.randn(3, 32, 7, 7)
    theirs: nn.Module = nn.GroupNorm(32, 32) if kind == "GN" else nn.BatchNorm2d(32)
    theirs.load_state_dict(ours.state_dict(), strict=False)
    assert torch.equal(ours(x), theirs.eval()(x))


@pytest.mark.parametrize("kind", KINDS)
def test_a_norm_of_no_rois_is_empty(kind: str) -> None:
    assert norm(kind)(torch.zeros(0, 32, 7, 7)).shape == (0, 32, 7, 7)
