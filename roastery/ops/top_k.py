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
    if last.numel():
        rows = last.reshape(-1, last.shape[-1])
        chosen = _largest(rows, count)
        values.view(-1, k)[:, :count] = rows.gather(1, chosen)
        indices.view(-1, k)[:, :count] = chosen
    return values.movedim(-1, axis).contiguous(), indices.movedim(-1, axis).contiguous()


def _largest(rows: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest of each row of (m, n), as a stable sort would give them."""
    least = rows.topk(count).values[:, -1:]
    above, equal = rows > least, rows == least
    # Of those that equal the least, the first that there is still room for.
    room = count - above.sum(dim=1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=1) <= room))
    # NaN is the largest to torch.
    strange = rows.isnan().any(dim=1)
    chosen[strange] = False
    chosen[strange, :count] = True
    places = chosen.nonzero()[:, 1].view(-1, count)
    order = rows.gather(1, places).sort(dim=1, descending=True, stable=True).indices
    places = places.gather(1, order)
    for row in strange.nonzero()[:, 0].tolist():
        places[row] = torch.from_numpy(queue_descending(rows[row].detach().numpy(), count))
    return places
