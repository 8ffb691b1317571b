"""What moves numbers and makes none."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset21 as op

from roastery.errors import UnsupportedOperator
from roastery.export.translations.constants import whole_numbers


def shapes() -> dict[Any, Callable[..., Any]]:
    """The entries of this file."""
    aten = torch.ops.aten
    return {
        aten.split.Tensor: _split,
        aten.split_with_sizes.default: _split_with_sizes,
        aten.slice.Tensor: _slice,
        aten.index.Tensor: _index,
        aten.stack.default: _stack,
        aten.unbind.int: _unbind,
        aten.repeat_interleave.self_int: _repeat_interleave,
        aten.channel_shuffle.default: _channel_shuffle,
    }


_TO_THE_END = 2**63 - 1


_WHOLE = (ir.DataType.INT32, ir.DataType.INT64)


def _slice(x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    start, end = 0 if start is None else start, _TO_THE_END if end is None else end
    if not (isinstance(start, int) and isinstance(end, int)):
        raise UnsupportedOperator(f"a slice from {start} to {end} by {step} has no Caffe2 form; cut at constant places")
    if step != 1:
        return _every(x, dim % len(x.shape), start, end, step)
    return op.Slice(x, *(whole_numbers([value]) for value in (start, end, dim)))


def _every(x: Any, axis: int, start: int, end: int, step: int) -> Any:
    """Every `step`th place: by their numbers where they are known, else as means over windows of one pixel."""
    size = x.shape[axis]
    if isinstance(size, int):
        return _places(x, axis, list(range(size)[start:end:step]))
    rank = len(x.shape)
    if rank != 4 or axis < 2 or x.dtype != ir.DataType.FLOAT:
        raise UnsupportedOperator(
            f"a slice by steps of {step} along an axis of unknown size has no Caffe2 form but over the height and "
            "width of float32 maps; take steps there"
        )
    if (start, end) != (0, _TO_THE_END):
        x = _slice(x, axis, start, end)
    strides = [step if each == axis else 1 for each in (2, 3)]
    return op.AveragePool(x, kernel_shape=[1, 1], strides=strides)


def _places(x: Any, axis: int, places: Sequence[int]) -> Any:
    indices = whole_numbers(places)
    return op.Gather(x, indices, axis=axis)


def _repeat_interleave(x: Any, repeats: int, dim: int | None = None, output_size: Any = None) -> Any:
    if dim is None or not isinstance(x.shape[dim], int):
        raise UnsupportedOperator("what is repeated along an axis of unknown size has no Caffe2 form; scale it")
    axis = dim % len(x.shape)
    return _places(x, axis, [place for place in range(x.shape[axis]) for _ in range(repeats)])


def _channel_shuffle(x: Any, groups: int) -> Any:
    channels = x.shape[1]
    return _places(
        x, 1, [group * (channels // groups) + i for i in range(channels // groups) for group in range(groups)]
    )


def _split(x: Any, split_size: int, dim: int = 0) -> Any:
    size = int(x.shape[dim])
    return _split_with_sizes(x, [min(split_size, size - i) for i in range(0, size, split_size)], dim)


def _split_with_sizes(x: Any, split_sizes: Sequence[Any], dim: int = 0) -> Any:
    """Equal parts by one Split, others by a Slice each: of Split the exporter writes no sizes.

    Those that depend on the image are equal: `known_sizes` has seen to that.
    """
    if not isinstance(x.shape[dim], int) or len(set(split_sizes)) == 1:
        return _equal_parts(x, len(split_sizes), dim)
    ends = list(accumulate(split_sizes))
    return [_slice(x, dim, end - size, end) for size, end in zip(split_sizes, ends, strict=True)]


def _equal_parts(x: Any, count: int, dim: int) -> Any:
    return op.Split(x, None, axis=dim, num_outputs=count) if count > 1 else [op.Identity(x)]


def _stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    axis = dim % (len(tensors[0].shape) + 1)
    new = whole_numbers([axis])
    return op.Concat(*[op.Unsqueeze(tensor, new) for tensor in tensors], axis=axis)


def _unbind(x: Any, dim: int = 0) -> Any:
    axis = dim % len(x.shape)
    if not isinstance(x.shape[axis], int):
        raise UnsupportedOperator("an axis that depends on the image cannot be unbound; take parts of it")
    old = whole_numbers([axis])
    return [op.Squeeze(part, old) for part in _equal_parts(x, x.shape[axis], axis)]


def _index(x: Any, indices: Sequence[Any]) -> Any:
    """Places of one axis by one vector; negative ones count from behind, as in Caffe2's Gather."""
    given = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    if len(given) != 1 or len(given[0][1].shape) != 1:
        raise UnsupportedOperator("an index by more than one vector of places has no Caffe2 form; index one axis")
    axis, index = given[0]
    if index.dtype not in _WHOLE:
        raise UnsupportedOperator("an index by a mask has no Caffe2 form; index by int64 places")
    return op.Gather(x, index, axis=axis)
