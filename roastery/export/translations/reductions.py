"""Sums over axes, means, and the largest and the smallest. No axis named is all of them."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset21 as op

from roastery.errors import UnsupportedOperator
from roastery.export.translations.constants import whole_numbers


def reductions() -> dict[Any, Callable[..., Any]]:
    """The entries of this file."""
    aten = torch.ops.aten
    return {
        aten.mean.default: _mean,
        aten.mean.dim: _mean,
        aten.sum.default: _sum,
        aten.sum.dim_IntList: _sum,
        aten.amax.default: _largest,
        aten.amin.default: _smallest,
        aten.max.default: _largest,
        aten.min.default: _smallest,
        aten.max.dim: _largest_and_place,
        aten.min.dim: _smallest_and_place,
        aten.linalg_vector_norm.default: _vector_norm,
        aten.var.dim: _variance,
        aten.var.correction: _corrected_variance,
        aten.std.dim: _deviation,
        aten.std.correction: _corrected_deviation,
    }


Axes = int | Sequence[int] | None


def _over(reduce: Callable[..., Any], x: Any, dim: Axes, keepdim: bool, rank: int | None = None) -> Any:
    named = [dim] if isinstance(dim, int) else list(dim or [])
    axes = whole_numbers(named or range(len(x.shape) if rank is None else rank))
    return reduce(x, axes, keepdims=int(keepdim))


def _mean(x: Any, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Any:
    if dtype not in (None, ir.DataType.FLOAT) or x.dtype != ir.DataType.FLOAT:
        raise UnsupportedOperator("a mean of another type than float32 has no Caffe2 form; make it float32 before")
    return _over(op.ReduceMean, x, dim, keepdim)


def _sum(x: Any, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Any:
    if dtype is not None and {dtype, x.dtype} != {ir.DataType.FLOAT}:
        raise UnsupportedOperator("a sum of another type than its numbers has no Caffe2 form; cast them before")
    # As PyTorch counts: in int64.
    whole = x if x.dtype in (ir.DataType.FLOAT, ir.DataType.INT64) else op.Cast(x, to=ir.DataType.INT64)
    return _over(op.ReduceSum, whole, dim, keepdim)


def _largest(x: Any, dim: Axes = None, keepdim: bool = False) -> Any:
    return _over(op.ReduceMax, x, dim, keepdim)


def _smallest(x: Any, dim: Axes = None, keepdim: bool = False) -> Any:
    return _over(op.ReduceMin, x, dim, keepdim)


# Where the places are used the conversion stops at them: they are dropped where they are not.
def _largest_and_place(x: Any, dim: int, keepdim: bool = False) -> tuple[Any, Any]:
    return _largest(x, dim, keepdim), op.ArgMax(x, axis=dim, keepdims=int(keepdim))


def _smallest_and_place(x: Any, dim: int, keepdim: bool = False) -> tuple[Any, Any]:
    return _smallest(x, dim, keepdim), op.ArgMin(x, axis=dim, keepdims=int(keepdim))


def _vector_norm(x: Any, ord: float = 2, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """Caffe2's ReduceL1 and ReduceL2 are the same parts, and it has none for infinity."""
    if dtype not in (None, ir.DataType.FLOAT) or x.dtype != ir.DataType.FLOAT or ord not in (1, 2, float("inf")):
        raise UnsupportedOperator(
            f"a norm of order {ord} of {x.dtype} has no Caffe2 form; take 1, 2 or infinity, of float32"
        )
    if ord == 2:
        return op.Sqrt(_over(op.ReduceSum, op.Mul(x, x), dim, keepdim, rank=len(x.shape)))
    return _over(op.ReduceSum if ord == 1 else op.ReduceMax, op.Abs(x), dim, keepdim, rank=len(x.shape))


def _corrected_variance(x: Any, dim: Axes = None, correction: float | None = None, keepdim: bool = False) -> Any:
    away = op.Sub(x, _over(op.ReduceMean, x, dim, keepdim=True))
    variance = _over(op.ReduceMean, op.Mul(away, away), dim, keepdim, rank=len(x.shape))
    wanted = 1 if correction is None else correction
    if not wanted:
        return variance
    named = [dim] if isinstance(dim, int) else list(dim or range(len(x.shape)))
    sizes = [x.shape[axis] for axis in named]
    if not all(isinstance(size, int) for size in sizes) or prod(sizes) <= wanted:
        raise UnsupportedOperator(
            f"a variance over {sizes} that is corrected by their number has no Caffe2 form; take unbiased=False"
        )
    return op.Mul(variance, op.Constant(value_float=prod(sizes) / (prod(sizes) - wanted)))


def _variance(x: Any, dim: Axes, unbiased: bool = True, keepdim: bool = False) -> Any:
    return _corrected_variance(x, dim, int(unbiased), keepdim)


def _corrected_deviation(x: Any, dim: Axes = None, correction: float | None = None, keepdim: bool = False) -> Any:
    return op.Sqrt(_corrected_variance(x, dim, correction, keepdim))


def _deviation(x: Any, dim: Axes, unbiased: bool = True, keepdim: bool = False) -> Any:
    return op.Sqrt(_variance(x, dim, unbiased, keepdim))
