"""Convolutions with what follows them done while their results are in the cache, by oneDNN.

These operators are what torch's own compiler calls; torch is pinned. Where it has no oneDNN, and for types that oneDNN
does not take, the same is done in steps.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from roastery.caffe2.kernels.window import Window

_AVAILABLE = bool(torch._C._has_mkldnn)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, groups: int, relu: bool) -> Tensor:
    """The convolution, and Relu of it if asked. x: (N, C, H, W); weight: (M, C / groups, kh, kw); bias: (M,).

    Padded as the window says if both sides of an axis are padded alike, else not.
    """
    padding = window.padding or (0, 0)
    if _takes(x, weight, bias):
        ending = "relu" if relu else "none"
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, padding, window.stride, window.dilation, groups, ending, [], ""
        )
        return y
    y = F.conv2d(x, weight, bias, window.stride, padding, window.dilation, groups)
    return y.relu_() if relu else y


def add_convolution(
    other: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    window: Window,
    groups: int,
    relu: bool,
    in_place: bool,
) -> Tensor:
    """`other`, which has its shape, plus the convolution, and Relu of that if asked; over `other` with `in_place`."""
    if not _takes(other, x, weight, bias) or x.numel() == 0:
        y = convolve(x, weight, bias, window, groups, relu=False).add_(other)
        return y.relu_() if relu else y
    how: tuple[Any, ...] = (
        window.padding,
        window.stride,
        window.dilation,
        groups,
        "add",
        1.0,
        "relu" if relu else None,
        [],
        "",
    )
    if in_place:
        total: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(other, x, weight, bias, *how)
    else:
        total = torch.ops.mkldnn._convolution_pointwise.binary(x, other, weight, bias, *how)
    return total


def convolve_transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    window: Window,
    adjustment: Sequence[int],
    groups: int,
    relu: bool,
) -> Tensor:
    """The transposed convolution, and Relu of it if asked. x: (N, C, H, W); weight: (C, M / groups, kh, kw).

    Padded as the window says if both sides of an axis are padded alike, else not.
    """
    padding = window.padding or (0, 0)
    if relu and _takes(x, weight, bias) and x.numel():
        y: Tensor = torch.ops.mkldnn._convolution_transpose_pointwise(
            x, weight, bias, padding, adjustment, window.stride, (1, 1), groups, "relu", [], ""
        )
        return y
    y = F.conv_transpose2d(x, weight, bias, window.stride, padding, adjustment, groups)
    return y.relu_() if relu else y


def convolved_shape(x: Tensor, weight: Tensor, window: Window) -> tuple[int, ...]:
    """Of the convolution of x (N, C, H, W), padded as the window says."""
    top, left, bottom, right = window.pads
    sides = [
        (size + pads - dilation * (kernel - 1) - 1) // stride + 1
        for size, pads, dilation, kernel, stride in zip(
            x.shape[2:], (top + bottom, left + right), window.dilation, window.kernel, window.stride, strict=True
        )
    ]
    return x.shape[0], weight.shape[0], *sides


def _takes(*tensors: Tensor | None) -> bool:
    return _AVAILABLE and all(
        tensor is None or (tensor.dtype == torch.float32 and tensor.ndim in (1, 4)) for tensor in tensors
    )
