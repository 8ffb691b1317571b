"""PyTorch's operators in the form that translations know, one by one: what torch.export's decompositions make of them.

torch.onnx.export has the whole program traced anew to decompose a few of its operators. Here these few are rewritten
where they stand, and the program is else as it was traced.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._prims_common import is_contiguous_or_false
from torch.export import ExportedProgram
from torch.fx import Node

from roastery.export.rewriting import replace, rewrite

aten = torch.ops.aten


def decompose(program: ExportedProgram) -> None:
    """Rewrite the program's graph, in place; what is no such operator, or has no such form here, stays."""
    rewrite(program, _REWRITINGS)


def _convolve(node: Node) -> None:
    """A transposed convolution as the general one, which says all of its settings."""
    given = _given(node)
    settings = [given[name] for name in ("stride", "padding", "dilation")]
    replace(
        node,
        aten.convolution.default,
        (given["input"], given["weight"], given["bias"], *settings, True, given["output_padding"], given["groups"]),
    )


def _view(node: Node) -> None:
    """Flattened or reshaped: seen in its final sizes, those of the image being the tensor's own.

    What lies in memory in another order would be copied first, and stays as it is.
    """
    x = node.args[0]
    assert isinstance(x, Node)
    if not is_contiguous_or_false(x.meta["val"]):
        return
    before, sizes = list(x.meta["val"].shape), list(node.meta["val"].shape)
    own = {axis: _own_axis(before, axis, size) for axis, size in enumerate(sizes) if not isinstance(size, int)}
    if None in own.values():
        return
    for axis, place in own.items():
        with node.graph.inserting_before(node):
            size = node.graph.call_function(aten.sym_size.int, (x, place))
        size.meta = {**node.meta, "val": sizes[axis]}
        sizes[axis] = size
    replace(node, aten.view.default, (x, sizes))


def _own_axis(before: Sequence[Any], axis: int, size: Any) -> int | None:
    """The axis of a tensor that a size is of, its own place before all others; None for a size that is computed."""
    places = [place for place, other in enumerate(before) if _same(other, size)]
    return axis if axis in places else next(iter(places), None)


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, torch.SymInt) and bool(one.node.expr == other.node.expr)


def _convert(node: Node) -> None:
    """To another type; to its own it is itself."""
    given = _given(node)
    if given["memory_format"] is not None or given["copy"]:
        return
    if given["self"].meta["val"].dtype == given["dtype"]:
        _drop(node)
    else:
        replace(node, aten._to_copy.default, (given["self"],), {"dtype": given["dtype"]})


def _drop(node: Node) -> None:
    """The tensor itself in the place of what changes no number."""
    node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
    node.graph.erase_node(node)


def _given(node: Node) -> dict[str, Any]:
    """Every argument by its name, with PyTorch's defaults."""
    assert isinstance(node.target, torch._ops.OpOverload)
    arguments = node.target._schema.arguments
    named = {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}
    named |= {argument.name: value for argument, value in zip(arguments, node.args, strict=False)}
    return named | node.kwargs


_REWRITINGS: dict[Any, Callable[[Node], None]] = {
    **dict.fromkeys((aten.flatten.using_ints, aten.reshape.default), _view),
    aten.conv_transpose2d.input: _convolve,
    aten.detach_.default: _drop,
    aten.to.dtype: _convert,
}
