"""GroupNorm."""

import torch
import torch.nn.functional as F
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.registry import Compute, kernel
from roastery.errors import OperatorError


@kernel("GroupNorm", inputs=(3, 3), outputs=(1, 3))
def build_group_norm(arguments: Arguments) -> Compute:
    """x: (N, C, H, W), gamma and beta (C,) to y, and the groups' means and inverse deviations (N, group).

    Its arguments are `group` and `epsilon`; `eps` and `num_groups` are nothing to it.

    Source: caffe2/operators/group_norm_op.cc, PyTorch 1.10.
    """
    groups, epsilon = arguments.integer("group", 32), arguments.number("epsilon", 1e-5)
    with_statistics = arguments.output_count > 1

    def compute(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, ...]:
        if groups < 1 or x.shape[1] % groups:
            raise OperatorError(f"{x.shape[1]} channels do not make {groups} groups")
        if not x.numel():
            y = torch.empty_like(x)
        elif x.is_contiguous():
            y = F.group_norm(x, groups, gamma, beta, epsilon)
        else:
            # Of channels last, torch 2.13 takes the variance from sums of squares: with a mean of 50 deviations it is
            # right to 1e-2, where rows first are right to 1e-5.
            y = F.group_norm(x.contiguous(), groups, gamma, beta, epsilon)
            y = y.contiguous(memory_format=torch.channels_last)
        return (y, *_statistics(x, groups, epsilon)) if with_statistics else (y,)

    return compute


def _statistics(x: Tensor, groups: int, epsilon: float) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(x.reshape(len(x), groups, -1), dim=-1, correction=0)
    return mean, torch.rsqrt(variance + epsilon)
