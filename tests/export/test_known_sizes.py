"""Sizes that are known for every image are told as constants, and the program gives what it gave."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from roastery.errors import UnsupportedOperator
from roastery.export.known_sizes import tell_known_sizes

aten = torch.ops.aten


class Neck(nn.Module):
    """A function as the module `neck`."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.neck = nn.Module()
        self.neck.forward = function

    def forward(self, x: Tensor) -> Tensor:
        return self.neck(x)


def exported(function: Callable[[Tensor], Tensor]) -> ExportedProgram:
    sizes = {2: 8 * Dim("h", min=2), 3: 8 * Dim("w", min=2)}
    x = torch.zeros(1, 4, 16, 24)
    return torch.export.export(Neck(function), (x,), dynamic_shapes=(sizes,), strict=False)


def calls(program: ExportedProgram, target: object) -> list[tuple[object, ...]]:
    return [node.args[1:] for node in program.graph.nodes if node.target == target]


CASES: dict[str, tuple[Callable[[Tensor], Tensor], object, list[tuple[object, ...]]]] = {
    "the factor of another's size": (
        lambda x: F.interpolate(F.max_pool2d(x, 4), size=x.shape[-2:]),
        aten.upsample_nearest2d.vec,
        [(None, [4.0, 4.0])],
    ),
    "the factor of a size in fractions": (
        lambda x: F.interpolate(x, scale_factor=0.75, recompute_scale_factor=True, mode="bilinear"),
        aten.upsample_bilinear2d.vec,
        [(None, False, [0.75, 0.75])],
    ),
    "an end that is counted from behind": (
        lambda x: F.pad(x, (0, 0, 0, 2))[:, :, : x.shape[2]],
        aten.slice.Tensor,
        [(2, None, -2)],
    ),
    "a ceiling that leaves nothing over": (
        lambda x: F.max_pool2d(x, 2, ceil_mode=True),
        aten.max_pool2d.default,
        [([2, 2], [], [0, 0], [1, 1], False)],
    ),
    "a ceiling that does": (
        lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
        aten.max_pool2d.default,
        [([3, 3], [2, 2], [0, 0], [1, 1], True)],
    ),
    "what arithmetic broadcasts": (
        lambda x: x + x.mean((2, 3), keepdim=True).expand_as(x),
        aten.expand_as.default,
        [],
    ),
    "windows of one size": (
        lambda x: F.adaptive_avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 8)),
        aten.avg_pool2d.default,
        [([2, 8], [2, 8])],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_size_that_is_known_is_a_constant_and_the_numbers_stay(case: str) -> None:
    function, target, expected = CASES[case]
    program = exported(function)
    tell_known_sizes(program)
    assert calls(program, target) == expected
    x = torch.randn(1, 4, 40, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(program.module()(x), function(x))


def test_a_program_that_was_saved_knows_its_sizes_too(tmp_path: Path) -> None:
    function, target, expected = CASES["the factor of another's size"]
    torch.export.save(exported(function), tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2")
    tell_known_sizes(program)
    assert calls(program, target) == expected


def test_a_size_that_is_another_factor_for_every_image_is_refused_with_its_module() -> None:
    program = exported(lambda x: F.interpolate(x, size=(16, 16)))
    with pytest.raises(UnsupportedOperator, match=r"module 'neck': a map of .* scaled to 16 x 16 .* use scale_factor"):
        tell_known_sizes(program)
