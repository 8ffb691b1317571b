"""TopK: the largest numbers along the last axis, and where they are."""

import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.definition import operator


def _fake(x: Tensor, *, k: int = -1, **_: object) -> tuple[Tensor, Tensor]:
    shape = (*x.shape[:-1], k)
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.int64)


@operator("TopK", outputs=("values", "indices"), fake=_fake)
def top_k(x: Tensor, *, k: int = -1, axis: int = -1) -> tuple[Tensor, Tensor]:
    """The k largest, largest first; of equal ones the earlier.

    Where there are fewer than k, the rest is filled with 0 at index -1.

    Args:
        x: (..., n) float32.
        k: how many, at least 1.
        axis: the last.

    Returns:
        values (..., k) float32 and indices (..., k) int64.

    Raises:
        OperatorError: no k, another axis, or a scalar.

    Source: caffe2/operators/top_k.cc, PyTorch 1.10.
    """
    if k < 1:
        raise OperatorError(f"TopK: k is {k}, must be at least 1")
    if x.dim() < 1 or axis not in (-1, x.dim() - 1):
        raise OperatorError(f"TopK: axis {axis} of {tuple(x.shape)}; only the last is supported")
    count = min(k, x.shape[-1])
    rows = x.reshape(-1, x.shape[-1])
    values = x.new_zeros(len(rows), k)
    indices = torch.full((len(rows), k), -1, dtype=torch.int64)
    for row, row_values, row_indices in zip(rows, values, indices, strict=True):
        chosen = _largest(row, count)
        row_values[:count] = row[chosen]
        row_indices[:count] = chosen
    shape = (*x.shape[:-1], k)
    return values.reshape(shape), indices.reshape(shape)


def _largest(row: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest of (n,), as a stable sort would give them."""
    if count == 0:
        return torch.empty(0, dtype=torch.int64)
    least = row.topk(count).values[-1]
    above = (row > least).nonzero()[:, 0]
    equal = (row == least).nonzero()[: count - len(above), 0]
    chosen = torch.cat([above, equal]).sort().values
    return chosen[row[chosen].sort(descending=True, stable=True).indices]
