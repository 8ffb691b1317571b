"""ReplaceNaN: a number in the place of NaN."""

import math

import onnx_ir as ir
import torch
from torch import Tensor

from roastery.ops.definition import operator
from roastery.ops.lowering import Lowering, f32


def _fake(x: Tensor, *, value: float = 0.0) -> Tensor:
    return torch.empty_like(x)


def _lower(lowering: Lowering, x: ir.Value, *, value: float) -> ir.Value:
    return lowering("Where", lowering("IsNaN", x), f32(value), x)


@operator("ReplaceNaN", outputs=("y",), fake=_fake, lower=_lower)
def replace_nan(x: Tensor, *, value: float = 0.0) -> Tensor:
    """`value` where x is NaN, else x. Infinities stay.

    Args:
        x: float32 of any shape.
        value: any number.

    Returns:
        As x.

    Source: caffe2/operators/replace_nan_op.cc, PyTorch 1.10.
    """
    return torch.nan_to_num(x, nan=value, posinf=math.inf, neginf=-math.inf)
