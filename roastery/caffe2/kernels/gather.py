"""Rows that several operators make, each written once: to where it is wanted."""

from collections.abc import Sequence

import torch
from torch import Tensor

from roastery.caffe2.kernels.registry import Compute, Into
from roastery.errors import OperatorError
from roastery.ops import batch_permutation


def gather_rows(parts: Sequence[tuple[Into, int]]) -> Compute:
    """BatchPermutation of a Concat along axis 0, of what those make: from the order and all their inputs."""

    def compute(order: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        places = torch.argsort(order)
        plain = torch.arange(len(order))
        # Another order than a permutation has no places: then the rows are made one after another.
        permutes = torch.equal(order[places].long(), plain)
        whole, start = None, 0
        for into, count in parts:
            whole, start = into(whole, places if permutes else plain, start, *inputs[:count])
            inputs = inputs[count:]
        if whole is None or start != len(order):
            raise OperatorError(f"BatchPermutation: {len(order)} indices for {start} rows")
        return (whole if permutes else batch_permutation.kernel(whole, order),)

    return compute
