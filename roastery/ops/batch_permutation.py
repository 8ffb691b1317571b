"""BatchPermutation: rows back in the order they had before DistributeFpnProposals."""

import onnx_ir as ir
import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.definition import operator
from roastery.ops.lowering import Lowering


def _fake(x: Tensor, indices: Tensor) -> Tensor:
    return torch.empty_like(x)


def _lower(lowering: Lowering, x: ir.Value, indices: ir.Value) -> ir.Value:
    return lowering("Gather", x, indices, axis=0)


@operator("BatchPermutation", outputs=("y",), fake=_fake, lower=_lower)
def batch_permutation(x: Tensor, indices: Tensor) -> Tensor:
    """y[i] = x[indices[i]].

    Args:
        x: (n, ...) float32.
        indices: (n,) int32, each in [0, n).

    Raises:
        OperatorError: an index outside [0, n). Genuine Caffe2 does not look and reads foreign memory.

    Source: caffe2/operators/batch_permutation_op.cc, PyTorch 1.10.
    """
    if len(indices) != len(x):
        raise OperatorError(f"BatchPermutation: {len(indices)} indices for {len(x)} rows")
    if not bool(((indices >= 0) & (indices < len(x))).all()):
        raise OperatorError(f"BatchPermutation: an index lies outside [0, {len(x)})")
    return x.index_select(0, indices)
