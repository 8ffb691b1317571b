"""Shape: the sizes of a tensor, as a tensor."""

import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.definition import operator


def _fake(x: Tensor, *, axes: list[int] = [], **_: object) -> Tensor:  # noqa: B006
    return x.new_empty(len(axes) or x.dim(), dtype=torch.int64)


@operator("Shape", outputs=("shape",), fake=_fake)
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
