"""LengthsToSegmentIds: for each row which of several parts it is in."""

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.definition import new_count, operator
from roastery.ops.lowering import Lowering, i64


def _fake(lengths: Tensor) -> Tensor:
    return lengths.new_empty(new_count())


def _lower(lowering: Lowering, lengths: ir.Value) -> ir.Value:
    """A row is of the part whose number is that of the parts that end before it."""
    zero, one = np.int32(0), np.int32(1)
    rows = lowering("Range", zero, lowering("ReduceSum", lengths, keepdims=0), one)
    ends = lowering("CumSum", lengths, np.int32(0))
    over = lowering("LessOrEqual", ends, lowering("Unsqueeze", rows, i64([1])))
    return lowering("ReduceSum", lowering.cast(over, ir.DataType.INT32), i64([1]), keepdims=0)


@operator("LengthsToSegmentIds", outputs=("segment_ids",), fake=_fake, lower=_lower)
def lengths_to_segment_ids(lengths: Tensor) -> Tensor:
    """0 as often as the first length says, 1 as often as the second, and so on.

    Args:
        lengths: (parts,) int32, none negative.

    Returns:
        (rows,) int32.

    Raises:
        OperatorError: lengths of another type or shape, or a negative one, where genuine Caffe2 writes anywhere.

    Source: caffe2/operators/utility_ops.h and lengths_reducer_ops, PyTorch 1.10.
    """
    if lengths.dim() != 1 or lengths.dtype != torch.int32:
        raise OperatorError(
            f"LengthsToSegmentIds: lengths {tuple(lengths.shape)} of {lengths.dtype}, must be (n,) int32"
        )
    if bool((lengths < 0).any()):
        raise OperatorError("LengthsToSegmentIds: a length is negative")
    return torch.repeat_interleave(torch.arange(len(lengths), dtype=torch.int32), lengths.long())
