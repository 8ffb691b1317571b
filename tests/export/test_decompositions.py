"""Each rewritten operator gives what it gave, at sizes that were not traced; and none is left that is rewritten."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from roastery.export.decompositions import decompose

aten = torch.ops.aten
KERNEL = torch.arange(3 * 2 * 3 * 3, dtype=torch.float32).reshape(3, 2, 3, 3)


class Written(nn.Module):
    """Of a map what a function gives."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x) + 0.0


def traced(function: Callable[[Tensor], Tensor]) -> ExportedProgram:
    """Of a batch of any count, and maps of any height and width."""
    sizes = {0: Dim("count", min=2), 2: Dim("height", min=3), 3: Dim("width", min=3)}
    with torch.no_grad():
        return torch.export.export(Written(function), (torch.zeros(3, 3, 5, 7),), dynamic_shapes=[sizes])


def targets(program: ExportedProgram) -> set[object]:
    return {node.target for node in program.graph.nodes if node.op == "call_function"}


@pytest.mark.parametrize(
    ("function", "old", "new"),
    [
        (lambda x: F.conv_transpose2d(x, KERNEL, None, 2, 1), aten.conv_transpose2d.input, aten.convolution.default),
        (
            lambda x: F.conv_transpose2d(x, KERNEL, KERNEL[0, :, 0, 0], (2, 3), (1, 0), (1, 2)),
            aten.conv_transpose2d.input,
            aten.convolution.default,
        ),
        (lambda x: (x[:, :, :2, :2] * 2).flatten(1), aten.flatten.using_ints, aten.view.default),
        (lambda x: (x[:, :, :2, :2] * 2).reshape(-1, 12), aten.reshape.default, aten.view.default),
        (lambda x: x.to(torch.float64).to(torch.float32), aten.to.dtype, aten._to_copy.default),
        (lambda x: x.to(torch.float32), aten.to.dtype, None),
        (lambda x: x + torch.tensor([1.0, 2.0, 3.0])[:, None, None], aten.detach_.default, None),
    ],
    ids=["transposed", "transposed, all said", "flattened", "reshaped", "converted", "of that type", "a constant"],
)
def test_an_operator_is_rewritten_to_what_gives_the_same(function, old, new):
    program = traced(function)
    assert old in targets(program)

    decompose(program)

    assert old not in targets(program)
    assert new is None or new in targets(program)
    for shape in ((3, 3, 5, 7), (2, 3, 4, 9), (5, 3, 8, 6)):
        x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        assert torch.equal(program.module()(x), function(x))


def test_sizes_that_are_computed_of_several_stay_with_the_operator():
    program = traced(lambda x: x.flatten(2))
    decompose(program)
    assert aten.flatten.using_ints in targets(program)


def test_what_lies_in_another_order_is_not_seen_in_other_sizes():
    program = traced(lambda x: x[:, :, :2, :2].flatten(1))
    decompose(program)
    assert aten.flatten.using_ints in targets(program)


def test_a_conversion_that_asks_for_more_than_the_type_stays():
    program = traced(lambda x: x.to(torch.float64, copy=True))
    decompose(program)
    assert aten.to.dtype in targets(program)
