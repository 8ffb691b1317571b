"""Conv and ConvTranspose."""

import torch.nn.functional as F
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.registry import Compute, kernel
from roastery.caffe2.kernels.window import Window, read_window
from roastery.errors import OperatorError


@kernel("Conv", inputs=(2, 3))
def build_convolution(arguments: Arguments) -> Compute:
    """x: (N, C, H, W); weight: (M, C / group, kh, kw); bias: (M,) or none.

    Source: caffe2/operators/conv_op_impl.h, PyTorch 1.10.
    """
    window, groups = read_window(arguments), arguments.integer("group", 1)
    stride, padding, dilation = window.stride, window.padding, window.dilation

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
        _check_kernel(weight, window)
        if padding is None:
            return (F.conv2d(pad_zero(x, window), weight, bias, stride, 0, dilation, groups),)
        return (F.conv2d(x, weight, bias, stride, padding, dilation, groups),)

    return compute


@kernel("ConvTranspose", inputs=(2, 3))
def build_transposed_convolution(arguments: Arguments) -> Compute:
    """x: (N, C, H, W); weight: (C, M / group, kh, kw); bias: (M,) or none.

    The output is (H - 1) stride + kernel + adj - pads high; Caffe2 has no dilation here.

    Source: caffe2/operators/conv_transpose_op_impl.h, conv_transpose_unpool_op_base.h, PyTorch 1.10.
    """
    window, groups = read_window(arguments), arguments.integer("group", 1)
    stride, padding = window.stride, window.padding
    adjustment = arguments.integers("adjs", []) or [
        arguments.integer(name, arguments.integer("adj", 0)) for name in ("adj_h", "adj_w")
    ]

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
        _check_kernel(weight, window)
        if padding is not None:
            return (F.conv_transpose2d(x, weight, bias, stride, padding, adjustment, groups),)
        y = F.conv_transpose2d(x, weight, bias, stride, 0, adjustment, groups)
        top, left, bottom, right = window.pads
        return (y[..., top : y.shape[-2] - bottom, left : y.shape[-1] - right].contiguous(),)

    return compute


def pad_zero(x: Tensor, window: Window, value: float = 0.0) -> Tensor:
    """x with the window's pads around it."""
    top, left, bottom, right = window.pads
    return F.pad(x, (left, right, top, bottom), value=value)


def _check_kernel(weight: Tensor, window: Window) -> None:
    if tuple(weight.shape[2:]) != window.kernel:
        raise OperatorError(f"a weight of {tuple(weight.shape)} for kernels {list(window.kernel)}")
