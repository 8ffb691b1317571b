"""TopK: the largest numbers along an axis, and where they are."""

import onnx_ir as ir
import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.definition import operator
from roastery.ops.lowering import Lowering, f32, i64, refuse
from roastery.ops.std_sort import queue_descending


def _fake(x: Tensor, *, k: int = -1, axis: int = -1) -> tuple[Tensor, Tensor]:
    shape = list(x.shape)
    shape[axis] = k
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.int64)


def _lower(lowering: Lowering, x: ir.Value, *, k: int, axis: int) -> tuple[ir.Value, ir.Value]:
    if k < 1:
        raise refuse("TopK", f"k {k}")
    count = lowering("Min", lowering.size(x, axis), i64([k]))
    values, indices = lowering.several("TopK", 2, x, count, axis=axis)
    pads, axes = lowering.concat([lowering.constant(i64([0])), lowering("Sub", i64([k]), count)]), i64([axis])
    return lowering("Pad", values, pads, f32(0.0), axes), lowering("Pad", indices, pads, i64(-1), axes)


@operator("TopK", outputs=("values", "indices"), fake=_fake, lower=_lower)
def top_k(x: Tensor, *, k: int = -1, axis: int = -1) -> tuple[Tensor, Tensor]:
    """The k largest, largest first; of equal ones the earlier.

    Where there are fewer than k, the rest is filled with 0 at index -1. Beside NaN what is chosen is no order, but what
    Caffe2's queue makes of it.

    Args:
        x: (..., n, ...) float32.
        k: how many, at least 1.
        axis: that of the n, counted from the front; -1 is the last.

    Returns:
        values (..., k, ...) float32 and indices (..., k, ...) int64.

    Raises:
        OperatorError: no k, no such axis, or other numbers than float32.

    Source: caffe2/operators/top_k.cc, PyTorch 1.10.
    """
    if k < 1:
        raise OperatorError(f"TopK: k is {k}, must be at least 1")
    if x.dtype != torch.float32:
        raise OperatorError(f"TopK: x is of {x.dtype}, must be float32")
    if not -1 <= axis < x.dim() or x.dim() == 0:
        raise OperatorError(f"TopK: axis {axis} of {tuple(x.shape)}; must be -1 or that of an axis")
    last = x.movedim(axis, -1)
    shape, count = (*last.shape[:-1], k), min(k, last.shape[-1])
    values = x.new_zeros(shape)
    indices = torch.full(shape, -1, dtype=torch.int64)
    # Empty rows have nothing to choose from.
    rows = last.reshape(-1, last.shape[-1]) if last.numel() else ()
    for row, row_values, row_indices in zip(rows, values.view(-1, k), indices.view(-1, k), strict=False):
        chosen = _largest(row, count)
        row_values[:count] = row[chosen]
        row_indices[:count] = chosen
    return values.movedim(-1, axis).contiguous(), indices.movedim(-1, axis).contiguous()


def _largest(row: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest of (n,), as a stable sort would give them."""
    # NaN is the largest to torch.
    if bool(row.isnan().any()):
        return torch.from_numpy(queue_descending(row.detach().numpy(), count))
    least = row.topk(count).values[-1]
    above = (row > least).nonzero()[:, 0]
    equal = (row == least).nonzero()[: count - len(above), 0]
    chosen = torch.cat([above, equal]).sort().values
    return chosen[row[chosen].sort(descending=True, stable=True).indices]
