"""What moves numbers and changes none: Concat, Split, Slice, Flatten, Reshape, Transpose, Copy, Cast and their like."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.arithmetic import canonical_axis
from roastery.caffe2.kernels.gather import gather_rows
from roastery.caffe2.kernels.registry import ANY, Compute, Ending, Into, kernel
from roastery.errors import ModelFileError, OperatorError, UnsupportedOperator
from roastery.ops import batch_permutation

# TensorProto.DataType
_TYPES = {
    1: torch.float32,
    2: torch.int32,
    5: torch.bool,
    6: torch.uint8,
    7: torch.int8,
    9: torch.int16,
    10: torch.int64,
    13: torch.float64,
}
_TYPE_NAMES = {"FLOAT": 1, "INT32": 2, "BOOL": 5, "UINT8": 6, "INT8": 7, "INT16": 9, "INT64": 10, "DOUBLE": 13}


def _in_order(arguments: Arguments) -> Compute:
    concat = build_concat(arguments)

    def compute(order: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (batch_permutation.kernel(concat(*inputs)[0], order),)

    return compute


def _gather(arguments: Arguments) -> Callable[[Sequence[tuple[Into, int]]], Compute] | None:
    return gather_rows if arguments.integer("axis", 1) == 0 and not arguments.flag("add_axis") else None


@kernel("Concat", inputs=(1, ANY), outputs=(1, 2), endings={("BatchPermutation",): Ending(_in_order, gather=_gather)})
def build_concat(arguments: Arguments) -> Compute:
    """The inputs one behind the other along `axis`, and their sizes along it (int32).

    Source: caffe2/operators/concat_split_op.cc, PyTorch 1.10.
    """
    axis = arguments.integer("axis", 1)
    # It does not count where the axis is not given.
    add_axis = "axis" in arguments and arguments.flag("add_axis")

    def compute(*inputs: Tensor) -> tuple[Tensor, ...]:
        along = canonical_axis(axis, inputs[0].ndim + add_axis)
        sizes = [1 if add_axis else tensor.shape[along] for tensor in inputs]
        whole = torch.stack(inputs, along) if add_axis else torch.cat(inputs, along)
        return whole, torch.tensor(sizes, dtype=torch.int32)

    return compute


@kernel("Split", inputs=(1, 1), outputs=(1, ANY), fresh=False)
def build_split(arguments: Arguments) -> Compute:
    """Parts along `axis`, of the sizes in `split`, or all of one size.

    Source: caffe2/operators/concat_split_op.cc, PyTorch 1.10.
    """
    axis, split, count = arguments.integer("axis", 1), arguments.integers("split", []), arguments.output_count
    if split and len(split) != count:
        raise ModelFileError(f"{arguments.owner}: {len(split)} sizes for {count} outputs")

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        along = canonical_axis(axis, x.ndim)
        if not split and x.shape[along] % count:
            raise OperatorError(f"{x.shape[along]} do not make {count} equal parts")
        return torch.split(x, split or x.shape[along] // count, along)

    return compute


@kernel("Slice", inputs=(1, 1), fresh=False)
def build_slice(arguments: Arguments) -> Compute:
    """From `starts` to before `ends` along one axis. A negative place counts from behind the last: -1 is the end.

    Both are given for the first axes, and at most one of them may be cut: Caffe2 can do no more.

    Source: caffe2/operators/slice_op.h, PyTorch 1.10.
    """
    starts, ends = arguments.integers("starts", []), arguments.integers("ends", [])
    if len(starts) != len(ends):
        raise ModelFileError(f"{arguments.owner}: {len(starts)} starts and {len(ends)} ends")

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        if len(starts) > x.ndim:
            raise OperatorError(f"{len(starts)} starts for a tensor with {x.ndim} axes")
        y, cut = x, 0
        for axis, (start, end) in enumerate(zip(starts, ends, strict=True)):
            size = x.shape[axis]
            first = start + size + 1 if start < 0 else start
            last = end + size + 1 if end < 0 else min(end, size)
            if not 0 <= first <= last <= size:
                raise OperatorError(f"axis {axis} has no places from {start} to {end}")
            cut += last - first < size
            y = y.narrow(axis, first, last - first)
        if cut > 1:
            raise OperatorError("a Slice cuts one axis only")
        return (y,)

    return compute


@kernel("Flatten", inputs=(1, 1), fresh=False)
def build_flatten(arguments: Arguments) -> Compute:
    """Two axes: those before `axis` taken as one, and the rest.

    Source: caffe2/operators/flatten_op.h, PyTorch 1.10.
    """
    axis = arguments.integer("axis", 1)

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        if not 0 <= axis <= x.ndim:
            raise OperatorError(f"axis {axis} of a tensor with {x.ndim} axes")
        return (x.reshape(x.shape[:axis].numel(), x.shape[axis:].numel()),)

    return compute


@kernel("Reshape", inputs=(1, 2), outputs=(1, 2), fresh=False)
def build_reshape(arguments: Arguments) -> Compute:
    """To `shape` (or the second input): 0 keeps an axis, one -1 is worked out. Second output: the old shape, int64.

    Source: caffe2/operators/reshape_op.h, PyTorch 1.10.
    """
    target = arguments.integers("shape", [])

    def compute(x: Tensor, shape: Tensor | None = None) -> tuple[Tensor, ...]:
        sizes = target if shape is None else [int(size) for size in shape.flatten().tolist()]
        if any(size == 0 and axis >= x.ndim for axis, size in enumerate(sizes)):
            raise OperatorError(f"shape {sizes} keeps an axis that is not there")
        kept = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        return x.reshape(kept), torch.tensor(x.shape, dtype=torch.int64)

    return compute


@kernel("Transpose", inputs=(1, 1), fresh=False)
def build_transpose(arguments: Arguments) -> Compute:
    """The axes in the order `axes`, or turned round."""
    axes = arguments.integers("axes", [])
    return lambda x: (x.permute(axes or list(range(x.ndim))[::-1]),)


@kernel("Squeeze", inputs=(1, 1), fresh=False)
def build_squeeze(arguments: Arguments) -> Compute:
    """Without the axes `dims`, each of size 1."""
    dims = sorted(set(arguments.integers("dims", [])))

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        if any(not 0 <= axis < x.ndim or x.shape[axis] != 1 for axis in dims):
            raise OperatorError(f"dims {dims} are not all of size 1")
        return (x.squeeze(dims),)

    return compute


@kernel("ExpandDims", inputs=(1, 1), fresh=False)
def build_expand_dims(arguments: Arguments) -> Compute:
    """With an axis of size 1 at each of `dims`."""
    dims = sorted(set(arguments.integers("dims", [])))

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        for axis in dims:
            if not 0 <= axis <= x.ndim:
                raise OperatorError(f"dims {dims} leave a gap")
            x = x.unsqueeze(axis)
        return (x,)

    return compute


@kernel("Gather", inputs=(2, 2))
def build_gather(arguments: Arguments) -> Compute:
    """Of the places along `axis` those that the second input (int32 or int64) names; negative ones from behind.

    Source: caffe2/operators/gather_op.h, PyTorch 1.10.
    """
    axis = arguments.integer("axis", 0)

    def compute(x: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        along = canonical_axis(axis, x.ndim)
        size = x.shape[along]
        if not bool(((places >= -size) & (places < size)).all()):
            raise OperatorError(f"a place outside of the {size} along axis {axis}")
        chosen = x.index_select(along, torch.where(places < 0, places + size, places).flatten())
        return (chosen.reshape(*x.shape[:along], *places.shape, *x.shape[along + 1 :]),)

    return compute


@kernel("Copy", inputs=(1, 1))
def build_copy(arguments: Arguments) -> Compute:
    return lambda x: (x.clone(),)


@kernel("AliasWithName", "Alias", "StopGradient", "EnsureCPUOutput", "EnsureDense", inputs=(1, 1), fresh=False)
def build_alias(arguments: Arguments) -> Compute:
    return lambda x: (x,)


@kernel("Cast", inputs=(1, 1), fresh=False)
def build_cast(arguments: Arguments) -> Compute:
    """To the type `to`, a TensorProto.DataType by number or name; towards zero.

    Source: caffe2/operators/cast_op.cc, PyTorch 1.10.
    """
    by_name = arguments.holds("to", "s")
    number = _TYPE_NAMES.get(arguments.text("to", "").upper(), 0) if by_name else arguments.integer("to", 0)
    if number not in _TYPES:
        raise UnsupportedOperator(f"{arguments.owner}: a cast to data type {number} is not supported")
    return lambda x: (x.to(_TYPES[number]),)
