"""Norms: PyTorch's own at inference, and such as can be traced over RoIs whose number depends on the image."""

import pytest
import torch
from torch import nn
from torch.export import Dim

from roastery.detectors.convolution import build_norm

KINDS = ("FrozenBN", "BN", "SyncBN", "GN")


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


class _OfChosen(nn.Module):
    """A norm of as many RoIs as there are numbers above 0."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (rows,) = torch.nonzero(x > 0, as_tuple=True)
        result: torch.Tensor = self.inner(torch.ones(32, 7, 7) * rows.reshape(-1, 1, 1, 1))
        return result


@pytest.mark.parametrize("kind", KINDS)
def test_a_norm_is_traced_over_rois_whose_number_nobody_knows(kind: str) -> None:
    model = _OfChosen(norm(kind))
    program = torch.export.export(model, (torch.ones(4),), dynamic_shapes={"x": {0: Dim("n")}}, strict=False)
    for x in (torch.tensor([1.0, -1.0, 1.0]), -torch.ones(3)):
        assert torch.equal(program.module()(x), model(x))
