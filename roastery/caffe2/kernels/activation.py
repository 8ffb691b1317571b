"""Activations: Relu, Sigmoid, Tanh, LeakyRelu, PRelu, Elu, Selu, HardSigmoid, Gelu, Mish."""

import torch
import torch.nn.functional as F
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.arithmetic import only_floats
from roastery.caffe2.kernels.functions import checked, of_floats, only_wide, plain
from roastery.caffe2.kernels.registry import Compute, kernel
from roastery.errors import ModelFileError, OperatorError


@kernel("Relu", inputs=(1, 1), in_place=plain(torch.relu_), by_row=True)
def build_relu(arguments: Arguments) -> Compute:
    return of_floats(torch.relu)


@kernel("Sigmoid", inputs=(1, 1), in_place=plain(torch.sigmoid_), by_row=True)
def build_sigmoid(arguments: Arguments) -> Compute:
    return of_floats(torch.sigmoid)


@kernel("Tanh", inputs=(1, 1), in_place=plain(torch.tanh_), by_row=True)
def build_tanh(arguments: Arguments) -> Compute:
    return of_floats(torch.tanh)


@kernel("LeakyRelu", inputs=(1, 1), by_row=True)
def build_leaky_relu(arguments: Arguments) -> Compute:
    """`alpha` x below 0.

    Source: caffe2/operators/leaky_relu_op.h, PyTorch 1.10.
    """
    alpha = arguments.number("alpha", 0.01)
    return of_floats(lambda x: F.leaky_relu(x, alpha))


@kernel("PRelu", inputs=(2, 2), by_row=True)
def build_parametric_relu(arguments: Arguments) -> Compute:
    """x: (N, C, ...); slope: one number, or C of them in any shape. slope x below 0.

    Source: caffe2/operators/prelu_op.cc, PyTorch 1.10.
    """

    def compute(x: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
        only_floats(x)
        only_floats(slope)
        if x.ndim < 2 or slope.numel() not in (1, x.shape[1]):
            raise OperatorError(f"{slope.numel()} slopes for {tuple(x.shape)}")
        return (F.prelu(x, slope.reshape(-1)),)

    return compute


@kernel("Elu", inputs=(1, 1), by_row=True)
def build_elu(arguments: Arguments) -> Compute:
    """`alpha` (e^x - 1) below 0.

    Source: caffe2/operators/elu_op.h, PyTorch 1.10.
    """
    alpha = arguments.number("alpha", 1.0)
    return of_floats(lambda x: F.elu(x, alpha))


@kernel("Selu", inputs=(1, 1), by_row=True)
def build_selu(arguments: Arguments) -> Compute:
    """`scale` x, and `scale` `alpha` (e^x - 1) below 0.

    Source: caffe2/operators/selu_op.h, PyTorch 1.10.
    """
    alpha, scale = arguments.number("alpha", 1.6732632423543772), arguments.number("scale", 1.0507009873554805)
    if scale <= 1:
        raise ModelFileError(f"{arguments.owner}: a scale of {scale}, must be over 1")
    return of_floats(lambda x: F.elu(x, alpha).mul_(scale))


@kernel("HardSigmoid", inputs=(1, 1), by_row=True)
def build_hard_sigmoid(arguments: Arguments) -> Compute:
    """`alpha` x + `beta` between 0 and 1.

    Source: caffe2/operators/hard_sigmoid_op.h, PyTorch 1.10.
    """
    alpha, beta = arguments.number("alpha", 0.2), arguments.number("beta", 0.5)
    return of_floats(lambda x: x.mul(alpha).add_(beta).clamp_(0, 1))


@kernel("Gelu", inputs=(1, 1), by_row=True)
def build_gelu(arguments: Arguments) -> Compute:
    """x times the normal distribution's part below x; with `fast_gelu` as tanh comes near to it.

    Source: caffe2/operators/gelu_op.h, PyTorch 1.10.
    """
    how = "tanh" if arguments.flag("fast_gelu") else "none"
    return of_floats(lambda x: F.gelu(x, approximate=how))


@kernel("Mish", inputs=(1, 1), by_row=True)
def build_mish(arguments: Arguments) -> Compute:
    """x tanh(log(1 + e^x)).

    Source: caffe2/operators/mish_op.cc, PyTorch 1.10.
    """
    return checked(only_wide, F.mish)
