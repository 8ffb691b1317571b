"""Conv and ConvTranspose."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.arithmetic import same_type
from roastery.caffe2.kernels.onednn import add_convolution, convolve, convolve_transposed, convolved_shape
from roastery.caffe2.kernels.registry import Compute, Ending, kernel
from roastery.caffe2.kernels.window import Window, read_window
from roastery.errors import OperatorError


def _convolution(arguments: Arguments, relu: bool) -> Compute:
    window, groups = read_window(arguments), arguments.integer("group", 1)

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
        _check_kernel(weight, window)
        if window.padding is None:
            return (convolve(pad_zero(x, window), weight, bias, window, groups, relu),)
        return (convolve(x, weight, bias, window, groups, relu),)

    return compute


def _convolution_and_sum(arguments: Arguments, relu: bool, in_place: bool) -> Compute:
    window, groups = read_window(arguments), arguments.integer("group", 1)
    convolution = _convolution(arguments, relu=False)

    def compute(other: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
        # A convolution gives the type that it is given.
        same_type(x, other)
        if window.padding is not None and other.shape == convolved_shape(x, weight, window):
            _check_kernel(weight, window)
            return (add_convolution(other, x, weight, bias, window, groups, relu, in_place),)
        (y,) = convolution(x, weight, bias)
        total = y + other
        return (total.relu_() if relu else total,)

    return compute


def _ending_in_sum(relu: bool) -> Ending:
    return Ending(
        partial(_convolution_and_sum, relu=relu, in_place=False),
        partial(_convolution_and_sum, relu=relu, in_place=True),
    )


@kernel(
    "Conv",
    inputs=(2, 3),
    by_row=True,
    endings={
        ("Relu",): Ending(partial(_convolution, relu=True)),
        ("Add",): _ending_in_sum(relu=False),
        ("Add", "Relu"): _ending_in_sum(relu=True),
    },
)
def build_convolution(arguments: Arguments) -> Compute:
    """x: (N, C, H, W); weight: (M, C / group, kh, kw); bias: (M,) or none.

    Source: caffe2/operators/conv_op_impl.h, PyTorch 1.10.
    """
    return _convolution(arguments, relu=False)


def _transposed_convolution(arguments: Arguments, relu: bool) -> Compute:
    window, groups = read_window(arguments), arguments.integer("group", 1)
    adjustment = arguments.integers("adjs", []) or [
        arguments.integer(name, arguments.integer("adj", 0)) for name in ("adj_h", "adj_w")
    ]

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
        _check_kernel(weight, window)
        y = convolve_transposed(x, weight, bias, window, adjustment, groups, relu)
        if window.padding is None:
            top, left, bottom, right = window.pads
            y = y[..., top : y.shape[-2] - bottom, left : y.shape[-1] - right].contiguous()
        return (y,)

    return compute


@kernel(
    "ConvTranspose",
    inputs=(2, 3),
    by_row=True,
    endings={("Relu",): Ending(partial(_transposed_convolution, relu=True))},
)
def build_transposed_convolution(arguments: Arguments) -> Compute:
    """x: (N, C, H, W); weight: (C, M / group, kh, kw); bias: (M,) or none.

    The output is (H - 1) stride + kernel + adj - pads high; Caffe2 has no dilation here.

    Source: caffe2/operators/conv_transpose_op_impl.h, conv_transpose_unpool_op_base.h, PyTorch 1.10.
    """
    return _transposed_convolution(arguments, relu=False)


def pad_zero(x: Tensor, window: Window, value: float = 0.0) -> Tensor:
    """x with the window's pads around it."""
    top, left, bottom, right = window.pads
    return F.pad(x, (left, right, top, bottom), value=value)


def _check_kernel(weight: Tensor, window: Window) -> None:
    if tuple(weight.shape[2:]) != window.kernel:
        raise OperatorError(f"a weight of {tuple(weight.shape)} for kernels {list(window.kernel)}")
