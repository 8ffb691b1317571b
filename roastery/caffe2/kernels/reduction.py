"""Over axes: ReduceMean, ReduceSum, ReduceMax, ReduceMin."""

from collections.abc import Callable

import torch
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.arithmetic import canonical_axis, only_floats, only_numbers
from roastery.caffe2.kernels.registry import Build, Compute, kernel


def _sum(x: Tensor, axes: list[int]) -> Tensor:
    return x.sum(dim=axes, keepdim=True, dtype=x.dtype)


def _mean(x: Tensor, axes: list[int]) -> Tensor:
    return x.mean(dim=axes, keepdim=True)


def _largest(x: Tensor, axes: list[int]) -> Tensor:
    return x.amax(dim=axes, keepdim=True)


def _smallest(x: Tensor, axes: list[int]) -> Tensor:
    return x.amin(dim=axes, keepdim=True)


def _limit(dtype: torch.dtype, largest: bool) -> float:
    limits = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    return limits.max if largest else limits.min


_Reduce = Callable[[Tensor, list[int]], Tensor]
# What they take, and what they give of nothing.
_REDUCTIONS: dict[str, tuple[_Reduce, Callable[[Tensor], None], Callable[[torch.dtype], float]]] = {
    "ReduceMean": (_mean, only_floats, lambda dtype: 0),
    "ReduceSum": (_sum, only_numbers, lambda dtype: 0),
    "ReduceMax": (_largest, only_numbers, lambda dtype: _limit(dtype, largest=False)),
    "ReduceMin": (_smallest, only_numbers, lambda dtype: _limit(dtype, largest=True)),
}


def _reduction(reduce: _Reduce, check: Callable[[Tensor], None], of_nothing: Callable[[torch.dtype], float]) -> Build:
    def build(arguments: Arguments) -> Compute:
        """Over `axes`, over all where none is named; `keepdims` leaves them with a size of 1.

        Source: caffe2/operators/reduce_ops.h, reduce_ops.cc, PyTorch 1.10.
        """
        axes, keep = arguments.integers("axes", []), arguments.flag("keepdims", True)

        def compute(x: Tensor) -> tuple[Tensor, ...]:
            check(x)
            along = sorted({canonical_axis(axis, x.ndim) for axis in axes}) or list(range(x.ndim))
            kept = [1 if axis in along else size for axis, size in enumerate(x.shape)]
            y = reduce(x, along) if x.numel() and along else x.clone() if x.numel() else None
            if y is None:
                y = torch.full(kept, of_nothing(x.dtype), dtype=x.dtype)
            return (y if keep else y.reshape([size for axis, size in enumerate(kept) if axis not in along]),)

        return compute

    return build


for _type, _how in _REDUCTIONS.items():
    kernel(_type, inputs=(1, 1))(_reduction(*_how))
