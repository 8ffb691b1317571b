"""LengthsToSegmentIds: for each row which of several parts it is in."""

import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.definition import new_count, operator


def _fake(lengths: Tensor) -> Tensor:
    return lengths.new_empty(new_count())


@operator("LengthsToSegmentIds", outputs=("segment_ids",), fake=_fake)
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
