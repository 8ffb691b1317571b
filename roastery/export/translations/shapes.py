"""What moves numbers and makes none."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset21 as op

from roastery.errors import UnsupportedOperator


def shapes() -> dict[Any, Callable[..., Any]]:
    """The entries of this file."""
    aten = torch.ops.aten
    return {
        aten.view.default: _view,
        aten._unsafe_view.default: _view,
        aten.reshape.default: _view,
        aten.slice.Tensor: _slice,
        aten.index.Tensor: _index,
    }


_TO_THE_END = 2**63 - 1


_WHOLE = (ir.DataType.INT32, ir.DataType.INT64)


def _view(x: Any, size: Sequence[Any]) -> Any:
    """A view whose first size alone is symbolic is a flatten or a reshape by constants; Caffe2 has no other."""
    sizes = [value if isinstance(value, int) else None for value in size]
    known = [value if isinstance(value, int) else None for value in (x.shape or [])]
    if sizes.count(None) + sizes.count(-1) > 1:
        raise UnsupportedOperator(
            f"a view to {list(size)} with more than one size that depends on the image has no Caffe2 form"
        )
    if len(sizes) == 2 and len(known) > 2 and None not in known[1:] and sizes[1] == prod(n or 0 for n in known[1:]):
        return op.Flatten(x, axis=1)
    shape = [-1 if value is None else value for value in sizes]
    constant: Any = op.Constant(value_ints=shape)
    return op.Reshape(x, constant)


def _slice(x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    start, end = 0 if start is None else start, _TO_THE_END if end is None else end
    if step != 1 or not (isinstance(start, int) and isinstance(end, int)):
        raise UnsupportedOperator(f"a slice from {start} to {end} by {step} has no Caffe2 form; cut at constant places")
    places: list[Any] = [op.Constant(value_ints=[value]) for value in (start, end, dim)]
    return op.Slice(x, *places)


def _index(x: Any, indices: Sequence[Any]) -> Any:
    """Places of one axis by one vector; negative ones count from behind, as in Caffe2's Gather."""
    given = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    if len(given) != 1 or len(given[0][1].shape) != 1:
        raise UnsupportedOperator("an index by more than one vector of places has no Caffe2 form; index one axis")
    axis, index = given[0]
    if index.dtype not in _WHOLE:
        raise UnsupportedOperator("an index by a mask has no Caffe2 form; index by int64 places")
    return op.Gather(x, index, axis=axis)
