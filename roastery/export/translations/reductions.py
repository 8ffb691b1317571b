"""Sums over axes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import opset21 as op

from roastery.errors import UnsupportedOperator


def reductions() -> dict[Any, Callable[..., Any]]:
    """The entries of this file."""
    aten = torch.ops.aten
    return {
        aten.mean.dim: _mean,
    }


def _mean(x: Any, dim: Sequence[int] | None, keepdim: bool = False, dtype: Any = None) -> Any:
    if not dim or dtype is not None:
        raise UnsupportedOperator("a mean over no named axes, or of another type, has no Caffe2 form; name the axes")
    axes: Any = op.Constant(value_ints=list(dim))
    return op.ReduceMean(x, axes, keepdims=int(keepdim))
