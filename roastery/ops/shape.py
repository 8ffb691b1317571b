"""Shape: the sizes of a tensor, as a tensor."""

import onnx_ir as ir
import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.definition import operator
from roastery.ops.lowering import Lowering, i64


def _fake(x: Tensor, *, axes: list[int] = [], **_: object) -> Tensor:  # noqa: B006
    return x.new_empty(len(axes) or x.dim(), dtype=torch.int64)


def _lower(lowering: Lowering, x: ir.Value, *, axes: list[int]) -> ir.Value:
    if len(axes) == 1:
        return lowering.size(x, axes[0])
    sizes = lowering("Shape", x)
    return lowering("Gather", sizes, i64(axes), axis=0) if axes else sizes


@operator("Shape", outputs=("shape",), fake=_fake, lower=_lower)
def shape(x: Tensor, *, axes: list[int] = []) -> Tensor:  # noqa: B006 (the signature is the operator's definition)
    """The sizes of these axes, in this order; of all of them for none.

    Returns:
        (len(axes),) int64.

    Raises:
        OperatorError: an axis that is not there.

    Source: caffe2/operators/shape_op.h, PyTorch 1.10.
    """
    if any(not 0 <= axis < x.dim() for axis in axes):
        raise OperatorError(f"Shape: axes {axes} of a tensor with {x.dim()}")
    return torch.tensor([x.shape[axis] for axis in axes] if axes else list(x.shape), dtype=torch.int64)
