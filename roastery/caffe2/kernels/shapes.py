"""What moves numbers and changes none: Concat, Split, Slice, Flatten, Reshape, Transpose, Copy, Cast and their like."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.arithmetic import canonical_axis, only_numbers
from roastery.caffe2.kernels.gather import gather_rows
from roastery.caffe2.kernels.registry import ANY, Compute, Ending, Into, kernel
from roastery.errors import ModelFileError, OperatorError, UnsupportedOperator
from roastery.ops import batch_permutation

# What counts places and sizes.
_PLACES = (torch.int32, torch.int64)
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

    Both are given for the first axes, and at most one of them may be cut: Caffe2 can do no more. A place beyond the end
    is the end; where there is nothing along an axis, every place is.

    Source: caffe2/operators/slice_op.h, PyTorch 1.10.
    """
    starts, ends = arguments.integers("starts", []), arguments.integers("ends", [])
    if "starts" not in arguments or "ends" not in arguments:
        raise ModelFileError(f"{arguments.owner}: no starts or no ends")
    if len(starts) != len(ends):
        raise ModelFileError(f"{arguments.owner}: {len(starts)} starts and {len(ends)} ends")

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        if len(starts) > x.ndim:
            raise OperatorError(f"{len(starts)} starts for a tensor with {x.ndim} axes")
        y, cut = x, 0
        for axis, (start, end) in enumerate(zip(starts, ends, strict=True)):
            size = x.shape[axis]
            if size == 0:
                continue
            first, last = (min(place + size + 1 if place < 0 else place, size) for place in (start, end))
            if not 0 <= first <= last:
                raise OperatorError(f"axis {axis} has no places from {start} to {end}")
            cut += last - first < size
            y = y.narrow(axis, first, last - first)
        if cut > 1 and x.numel():
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
    """To `shape`, or the second input (n,) int32 or int64: 0 keeps an axis, one -1 is worked out.

    Of no numbers at all 0 and -1 both are 0. Second output: the old shape, of the second input's type, or int64.

    Source: caffe2/operators/reshape_op.h, PyTorch 1.10.
    """
    target = arguments.integers("shape", []) if "shape" in arguments else None

    def compute(x: Tensor, shape: Tensor | None = None) -> tuple[Tensor, ...]:
        sizes = target if shape is None else _sizes(shape)
        if sizes is None or (shape is not None and target is not None):
            raise OperatorError("the shape must be an argument or an input, one of them")
        if x.numel() == 0:
            kept = [0 if size == -1 else size for size in sizes]
            if sizes.count(-1) > 1 or min(kept, default=1) < 0 or 0 not in kept:
                raise OperatorError(f"no numbers do not make the shape {sizes}")
        elif any(size == 0 and axis >= x.ndim for axis, size in enumerate(sizes)):
            raise OperatorError(f"shape {sizes} keeps an axis that is not there")
        else:
            kept = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        return x.reshape(kept), torch.tensor(x.shape, dtype=torch.int64 if shape is None else shape.dtype)

    return compute


def _sizes(shape: Tensor) -> list[int]:
    if shape.ndim != 1 or len(shape) == 0 or shape.dtype not in _PLACES:
        raise OperatorError(f"the shape {list(shape.shape)} of {shape.dtype} must be (n,) int32 or int64")
    return [int(size) for size in shape.tolist()]


@kernel("Transpose", inputs=(1, 1), fresh=False)
def build_transpose(arguments: Arguments) -> Compute:
    """The axes in the order `axes`, or turned round."""
    axes = arguments.integers("axes", [])

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        only_numbers(x)
        order = axes or list(range(x.ndim))[::-1]
        if sorted(order) != list(range(x.ndim)):
            raise OperatorError(f"axes {axes} are no order of the {x.ndim} axes")
        return (x.permute(order),)

    return compute


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
    """Of the places along `axis` those that the second input (int32 or int64) names.

    With `wrap_indices` negative ones count from behind: by default along axis 0 alone. Where there is nothing along the
    axis the output is as empty as the input, and where the output is empty no place is looked at.

    Source: caffe2/operators/gather_op.h, PyTorch 1.10.
    """
    axis = arguments.integer("axis", 0)
    wraps = arguments.flag("wrap_indices", axis == 0)
    if arguments.flag("match_outer"):
        raise UnsupportedOperator(f"{arguments.owner}: match_outer is not supported; gather along one axis")

    def compute(x: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        along = canonical_axis(axis, x.ndim)
        if places.dtype not in _PLACES:
            raise OperatorError(f"places of {places.dtype}, must be int32 or int64")
        size, shape = x.shape[along], (*x.shape[:along], *places.shape, *x.shape[along + 1 :])
        if size == 0 or 0 in shape:
            return (x.new_empty(shape if size else x.shape),)
        if not bool(((places >= (-size if wraps else 0)) & (places < size)).all()):
            raise OperatorError(f"a place outside of the {size} along axis {axis}")
        return (x.index_select(along, torch.where(places < 0, places + size, places).flatten()).reshape(shape),)

    return compute


@kernel("Copy", inputs=(1, 1))
def build_copy(arguments: Arguments) -> Compute:
    return lambda x: (x.clone(),)


@kernel("AliasWithName", "Alias", "StopGradient", "EnsureCPUOutput", inputs=(1, 1), fresh=False)
def build_alias(arguments: Arguments) -> Compute:
    return lambda x: (x,)


@kernel("EnsureDense", inputs=(1, 1), fresh=False)
def build_ensure_dense(arguments: Arguments) -> Compute:
    def compute(x: Tensor) -> tuple[Tensor, ...]:
        if x.ndim == 0:
            raise OperatorError("a number without axes is no dense tensor")
        return (x,)

    return compute


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
