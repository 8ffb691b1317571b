"""GroupNorm, LayerNorm, SpatialBN."""

import torch
import torch.nn.functional as F
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.arithmetic import canonical_axis, only_floats
from roastery.caffe2.kernels.layout import in_order
from roastery.caffe2.kernels.registry import Compute, kernel
from roastery.errors import OperatorError, UnsupportedOperator


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
            y = F.group_norm(in_order(x), groups, gamma, beta, epsilon)
            y = y.contiguous(memory_format=torch.channels_last)
        return (y, *_statistics(x, groups, epsilon)) if with_statistics else (y,)

    return compute


def _statistics(x: Tensor, groups: int, epsilon: float) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(x.reshape(len(x), groups, -1), dim=-1, correction=0)
    return mean, torch.rsqrt(variance + epsilon)


@kernel("LayerNorm", inputs=(1, 3), outputs=(3, 3))
def build_layer_norm(arguments: Arguments) -> Compute:
    """x, over everything from `axis` on, to y of x's shape, and the means and deviations (x's axes before it, then 1).

    gamma and beta, as many numbers as are normalised together, count with `elementwise_affine` alone. The deviation is
    that with `epsilon` in it.

    Source: caffe2/operators/layer_norm_op.h, PyTorch 1.10.
    """
    axis, epsilon = arguments.integer("axis", 1), arguments.number("epsilon", 1e-5)
    affine = arguments.flag("elementwise_affine")

    def compute(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None) -> tuple[Tensor, ...]:
        if x.ndim < 2 or not x.is_floating_point():
            raise OperatorError(f"a layer norm of {x.ndim} axes of {x.dtype}, must be two or more of float32")
        first = canonical_axis(axis, x.ndim)
        shape = x.shape[first:]
        if affine and (gamma is None or beta is None or {gamma.numel(), beta.numel()} != {shape.numel()}):
            raise OperatorError(f"gamma and beta must be {shape.numel()} numbers each")
        kept = (*x.shape[:first], 1)
        if not x.numel():
            mean = x.new_zeros(kept)
            return torch.empty_like(x), mean, torch.full_like(mean, epsilon**0.5)
        # Rows first, as in the group norm: of other layouts torch may lose the variance to a large mean.
        rows = x.contiguous().reshape(*x.shape[:first], -1)
        variance, mean = torch.var_mean(rows, dim=-1, correction=0, keepdim=True)
        scale, shift = (
            None if each is None or not affine else each.reshape(shape).to(x.dtype) for each in (gamma, beta)
        )
        return F.layer_norm(x.contiguous(), list(shape), scale, shift, epsilon), mean, torch.sqrt(variance + epsilon)

    return compute


@kernel("SpatialBN", inputs=(5, 5), by_row=True)
def build_batch_norm(arguments: Arguments) -> Compute:
    """x: (N, C, ...), scale, bias, mean and variance (C,) to y of x's shape, by `epsilon`. At inference alone.

    Source: caffe2/operators/spatial_batch_norm_op.h, PyTorch 1.10.
    """
    epsilon = arguments.number("epsilon", 1e-5)
    if not arguments.flag("is_test"):
        raise UnsupportedOperator(f"{arguments.owner}: a batch norm that trains is not supported; set is_test")

    def compute(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, ...]:
        parameters = [each.reshape(-1) for each in (mean, variance, scale, bias)]
        for each in (x, *parameters):
            only_floats(each)
        if x.ndim < 2 or any(len(each) != x.shape[1] for each in parameters):
            raise OperatorError(f"parameters of {[len(each) for each in parameters]} channels")
        if not x.numel():
            return (torch.empty_like(x),)
        mean, variance, scale, bias = parameters
        return (F.batch_norm(x, mean, variance, scale, bias, eps=epsilon),)

    return compute
