"""Sizes that depend on the image, told as constants where they are the same for every image.

A module asks for the size of another map, and torch.export writes that size down as a number which is computed.
Caffe2's operators take constants. Here sizes are expressions of the image's height and width, so that their ratios and
differences are known: a map of 8 h rows scaled to 16 h is scaled by 2. Each rewriting leaves PyTorch the same program.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils._sympy.functions import FloorDiv, ToFloat, TruncToInt

from roastery.errors import UnsupportedOperator
from roastery.export.rewriting import replace, rewrite
from roastery.places import named_node

aten = torch.ops.aten
_SCALED = (
    aten.upsample_nearest2d.vec,
    aten._upsample_nearest_exact2d.vec,
    aten.upsample_bilinear2d.vec,
    aten.upsample_bicubic2d.vec,
)
_MOST_PARTS = 4096
_ARITHMETIC = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)


def tell_known_sizes(program: ExportedProgram) -> None:
    """Rewrite the program's graph, in place.

    Raises:
        UnsupportedOperator: a map scaled to a size that is another factor for every image.
    """
    rewrite(program, _REWRITINGS)


def _sizes(node: Any) -> list[Any]:
    """The sizes of a tensor, as expressions; those that are constants as whole numbers."""
    return [_expression(size) for size in node.meta["val"].shape]


def _expression(size: Any) -> Any:
    if isinstance(size, Node):
        size = size.meta["val"]
    if not isinstance(size, torch.SymInt):
        return sympy.Integer(int(size))
    # A size times a fraction that leaves nothing over is no more than their product.
    expression = size.node.expr.replace(ToFloat, lambda inner: inner)
    return expression.replace(TruncToInt, _truncated)


def _truncated(inner: Any) -> Any:
    exact = sympy.nsimplify(inner, rational=True)
    return exact if exact.is_integer else TruncToInt(inner)


def _constant(expression: Any) -> Any:
    """A number; None where it depends on the image."""
    simple = sympy.simplify(expression)
    return simple if simple.is_number else None


def _scale(node: Any) -> None:
    """To a size: by a factor, where that is the same for every image; one pixel is repeated."""
    x, wanted, *others = node.args
    if wanted is None:
        return
    before, after = _sizes(x)[2:], [_expression(size) for size in wanted]
    if before == [1, 1]:
        replace(node, aten.expand.default, (x, [-1, -1, *wanted]))
        return
    factors = [_constant(new / old) for old, new in zip(before, after, strict=True)]
    if not all(factor is not None and _scales_exactly(factor) for factor in factors):
        raise UnsupportedOperator(
            f"{named_node(node)}: a map of {_text(before)} scaled to {_text(after)} is another factor for every image, "
            "and Caffe2 scales by constants; use scale_factor, or maps whose sizes are multiples of one another"
        )
    node.args = (x, None, *others[:-1], [float(factor) for factor in factors])


def _scales_exactly(factor: Any) -> bool:
    """Whether a size times the factor is the size that was wanted, in PyTorch's rounding too."""
    product = float(factor)
    return all(int(factor.q * part * product) == factor.p * part for part in range(1, _MOST_PARTS))


def _pool_with_ceiling(node: Any) -> None:
    """Where the sizes leave nothing over, ceil_mode is none; else no window may begin in the padding at the end."""
    names: tuple[str, ...] = ("x", "kernel", "stride", "padding", "dilation", "ceil_mode")
    if node.target is aten.avg_pool2d.default:
        names = ("x", "kernel", "stride", "padding", "ceil_mode")
    given: dict[str, Any] = dict(zip(names, node.args, strict=False))
    if not given.get("ceil_mode", False):
        return
    floors, fits = [], True
    for axis, length in enumerate(_sizes(node.args[0])[-2:]):
        kernel, padding, dilation = (
            _axis(given.get(name), axis, default) for name, default in (("kernel", 1), ("padding", 0), ("dilation", 1))
        )
        stride = _axis(given.get("stride") or given["kernel"], axis, 1)
        reach = dilation * (kernel - 1) + 1
        floors.append(FloorDiv(length + 2 * padding - reach, stride) + 1)
        fits &= padding + stride <= reach
    if all(_constant(floor - size) == 0 for floor, size in zip(floors, _sizes(node)[-2:], strict=True)):
        place = names.index("ceil_mode")
        node.args = (*node.args[:place], False, *node.args[place + 1 :])
    elif not fits:
        raise UnsupportedOperator(
            f"{named_node(node)}: pooling by {given['kernel']} with ceil_mode=True, whose last window may begin in the "
            "padding, has no Caffe2 form; use ceil_mode=False, or a kernel of at least padding and stride together"
        )


def _axis(value: Any, axis: int, default: int) -> int:
    """Of a setting for both axes, or for each; none stands for the default."""
    if not isinstance(value, list | tuple):
        return default if value is None else int(value)
    return int(value[axis % len(value)]) if value else default


def _pool_to_a_size(node: Any) -> None:
    """To as many pixels as there are, or to a whole part of them: a mean over one axis, or windows side by side."""
    x = node.args[0]
    before, after = _sizes(x)[-2:], _sizes(node)[-2:]
    kept = [_constant(new - old) == 0 for old, new in zip(before, after, strict=True)]
    if after == [1, 1]:
        return
    if kept[0] and after[1] == 1:
        replace(node, aten.mean.dim, (x, [-1], True))
    elif kept[1] and after[0] == 1:
        replace(node, aten.mean.dim, (x, [-2], True))
    else:
        sides = [_constant(old / new) for old, new in zip(before, after, strict=True)]
        if any(side is None or not side.is_integer for side in sides):
            raise UnsupportedOperator(
                f"{named_node(node)}: adaptive pooling of {_text(before)} to {_text(after)} has no windows of one "
                "size; pool to 1, or to a whole part of a size that is known"
            )
        whole = [int(side) for side in sides]
        replace(node, aten.avg_pool2d.default, (x, whole, whole))


def _view(node: Any) -> None:
    """Of several sizes that depend on the image each is one of the tensor's own, where it is."""
    x, wanted = node.args[0], list(node.args[1])
    unknown = [axis for axis, size in enumerate(wanted) if isinstance(size, Node)]
    if len(unknown) + wanted.count(-1) < 2:
        return
    before = _sizes(x)
    for axis in unknown:
        size = _expression(wanted[axis])
        places = [place for place, other in enumerate(before) if _constant(other - size) == 0]
        if places:
            place = axis if axis in places else places[0]
            with node.graph.inserting_before(node):
                own = node.graph.call_function(aten.sym_size.int, (x, place))
            own.meta = dict(wanted[axis].meta)
            wanted[axis] = own
    node.args = (x, wanted)


def _slice(node: Any) -> None:
    """Places that are counted from the front by the size are counted from behind."""
    if not any(isinstance(place, Node) for place in node.args[2:4]):
        return
    x, dim, *places = node.args
    for index, place in enumerate(places[:2]):
        behind = _constant(_expression(place) - _sizes(x)[dim]) if isinstance(place, Node) else None
        if behind is not None and behind < 0:
            places[index] = int(behind)
        elif behind == 0 and index == 1:
            # To the end itself.
            places[index] = None
    node.args = (x, dim, *places)


def _expand(node: Any) -> None:
    """What arithmetic broadcasts need not be expanded; and an axis that stays says so."""
    x = node.args[0]
    before, after = _sizes(x), _sizes(node)
    if before == after or (node.users and all(_broadcasts(user, node, after) for user in node.users)):
        node.replace_all_uses_with(x)
        node.graph.erase_node(node)
        return
    if node.target is aten.expand_as.default:
        other = node.args[1]
        wanted = []
        for axis, size in enumerate(other.meta["val"].shape):
            if isinstance(size, int):
                wanted.append(size)
            else:
                with node.graph.inserting_before(node):
                    own = node.graph.call_function(aten.sym_size.int, (other, axis))
                own.meta["val"] = size
                wanted.append(own)
        node = replace(node, aten.expand.default, (x, wanted))
    given, lead = list(node.args[1]), len(after) - len(before)
    for axis, size in enumerate(before):
        if _constant(size - after[lead + axis]) == 0:
            given[lead + axis] = -1
    node.args = (x, given)


def _broadcasts(user: Any, expanded: Any, sizes: Sequence[Any]) -> bool:
    """Whether it is arithmetic with a tensor that has the expanded sizes already."""
    if user.target not in _ARITHMETIC or not all(isinstance(other, Node) for other in user.args[:2]):
        return False
    others = [other for other in user.args[:2] if other is not expanded]
    return len(others) == 1 and isinstance(others[0].meta["val"], torch.Tensor) and _sizes(others[0]) == list(sizes)


def _parts(node: Any) -> None:
    """Of an axis that depends on the image the parts must be equal for every image."""
    x, axis = node.args[0], node.args[2] if len(node.args) > 2 else 0
    along = [_expression(part.shape[axis]) for part in node.meta["val"]]
    if _constant(_sizes(x)[axis]) is not None:
        return
    if any(_constant(size - along[0]) != 0 for size in along):
        raise UnsupportedOperator(
            f"{named_node(node)}: parts of {_text(along)} along an axis that depends on the image are not equal for "
            "every image; cut at constant places"
        )
    with node.graph.inserting_before(node):
        whole = node.graph.call_function(aten.sym_size.int, (x, axis))
        part = node.graph.call_function(operator.floordiv, (whole, len(along)))
    whole.meta["val"], part.meta["val"] = x.meta["val"].shape[axis], node.meta["val"][0].shape[axis]
    replace(node, aten.split_with_sizes.default, (x, [part] * len(along), axis))


def _text(sizes: Sequence[Any]) -> str:
    return " x ".join(str(size) for size in sizes)


_REWRITINGS: dict[Any, Callable[[Node], None]] = {
    **dict.fromkeys(_SCALED, _scale),
    **dict.fromkeys((aten.view.default, aten.reshape.default, aten._unsafe_view.default), _view),
    **dict.fromkeys((aten.expand.default, aten.expand_as.default), _expand),
    **dict.fromkeys((aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default), _parts),
    **dict.fromkeys((aten.max_pool2d.default, aten.avg_pool2d.default), _pool_with_ceiling),
    aten.adaptive_avg_pool2d.default: _pool_to_a_size,
    aten.slice.Tensor: _slice,
}
