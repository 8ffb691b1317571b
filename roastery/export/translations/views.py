"""Other axes for the same numbers: views, axes of size 1, and what is repeated along an axis."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset21 as op

from roastery.errors import UnsupportedOperator
from roastery.export.translations.constants import whole_numbers


def views() -> dict[Any, Callable[..., Any]]:
    """The entries of this file."""
    aten = torch.ops.aten
    return {
        aten.view.default: _view,
        aten._unsafe_view.default: _view,
        aten.reshape.default: _view,
        aten.squeeze.default: _squeeze,
        aten.squeeze.dim: _squeeze,
        aten.squeeze.dims: _squeeze,
        aten.expand.default: _expand,
        aten.repeat.default: _repeat,
        aten.sym_size.int: _size,
    }


def _size(x: Any, dim: int) -> Any:
    axis = dim % len(x.shape)
    return op.Squeeze(op.Shape(x, start=axis, end=axis + 1), whole_numbers([0]))


def _view(x: Any, size: Sequence[Any]) -> Any:
    """By constants where all sizes of the image but one stay in their places; else by a computed shape."""
    sizes = list(size)
    known = [value if isinstance(value, int) else None for value in (x.shape or [])]
    unknown = [axis for axis, value in enumerate(sizes) if not isinstance(value, int)]
    if len(unknown) + sizes.count(-1) > 1:
        # 0 is the size that the axis had.
        sizes = [0 if axis in unknown and _own_axis(x, value) == axis else value for axis, value in enumerate(sizes)]
        unknown = [axis for axis in unknown if sizes[axis] != 0]
    if unknown and -1 not in sizes:
        left = next((axis for axis in unknown if _own_axis(x, sizes[axis]) is None), unknown[-1])
        sizes[left] = -1
        unknown.remove(left)
    if unknown:
        return op.Reshape(x, _shape(sizes))
    if len(sizes) == 2 and len(known) > 2 and None not in known[1:] and sizes[1] == prod(n or 0 for n in known[1:]):
        return op.Flatten(x, axis=1)
    return op.Reshape(x, whole_numbers(sizes))


def _own_axis(x: Any, size: Any) -> int | None:
    """The axis of x that a size is of; None for any other."""
    shape = _shape_node(size)
    return int(shape.attributes["start"].value) if shape is not None and shape.inputs[0] is x else None


def _shape_node(size: Any) -> Any:
    """The Shape that a size comes from, as `_size` writes it; None where it is computed in another way."""
    squeeze = size.producer()
    shape = squeeze.inputs[0].producer() if squeeze is not None and squeeze.op_type == "Squeeze" else None
    return shape if shape is not None and shape.op_type == "Shape" else None


def _shape(sizes: Sequence[Any]) -> Any:
    """Constant sizes and computed ones as one tensor."""
    parts = []
    for value in sizes:
        if isinstance(value, int):
            parts.append(whole_numbers([value]))
        else:
            shape = _shape_node(value)
            parts.append(op.Reshape(value, whole_numbers([1])) if shape is None else shape.outputs[0])
    return op.Concat(*parts, axis=0)


def _squeeze(x: Any, dim: int | Sequence[int] | None = None) -> Any:
    rank = len(x.shape)
    axes = range(rank) if dim is None else [dim] if isinstance(dim, int) else dim
    ones = sorted({axis % rank for axis in axes if x.shape[axis] == 1})
    return op.Squeeze(x, whole_numbers(ones)) if ones else op.Identity(x)


def _expand(x: Any, size: Sequence[Any], implicit: bool = False) -> Any:
    x = _with_rank(x, len(size))
    known = [value if isinstance(value, int) else None for value in x.shape]
    grown = [
        1 if value == -1 or (isinstance(value, int) and value == old) else value
        for value, old in zip(size, known, strict=True)
    ]
    return _repeated(x, grown, known)


def _repeat(x: Any, repeats: Sequence[Any]) -> Any:
    x = _with_rank(x, len(repeats))
    known = [value if isinstance(value, int) else None for value in x.shape]
    return _repeated(x, repeats, known)


def _repeated(x: Any, times: Sequence[Any], sizes: Sequence[int | None]) -> Any:
    """x so many times along each axis."""
    unknown = [axis for axis, count in enumerate(times) if not isinstance(count, int)]
    for axis, count in enumerate(times):
        if isinstance(count, int) and count != 1:
            repeats: Any = whole_numbers([count if other == axis else 1 for other in range(len(times))])
            x = op.Tile(x, repeats)
    if not unknown:
        return x if x.producer() is not None else op.Identity(x)
    if sizes[0] is None or 0 in unknown or any(sizes[axis] != 1 for axis in unknown):
        # Caffe2's Expand refuses a tensor of no RoIs, and takes a size of 0 for one that stays.
        raise UnsupportedOperator(
            f"a tensor of {list(sizes)} repeated as often as the image wills has no Caffe2 form; "
            "repeat axes of size 1 of a map, or let arithmetic broadcast it"
        )
    return op.Expand(x, _shape([1 if isinstance(count, int) else count for count in times]))


def _with_rank(x: Any, rank: int) -> Any:
    lead = rank - len(x.shape)
    if not lead:
        return x
    shape = [1] * lead + list(x.shape)
    axes: Any = whole_numbers(list(range(lead)))
    y: Any = op.Unsqueeze(x, axes)
    # What is made on the way has no shape yet.
    y.shape = ir.Shape(shape)
    return y
