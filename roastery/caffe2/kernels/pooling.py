"""MaxPool and AveragePool."""

import torch.nn.functional as F
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.convolution import pad_zero
from roastery.caffe2.kernels.registry import Compute, kernel
from roastery.caffe2.kernels.window import Window, read_window
from roastery.errors import ModelFileError, UnsupportedOperator


@kernel("MaxPool", inputs=(1, 1))
def build_max_pool(arguments: Arguments) -> Compute:
    """The largest value in each window; sizes are rounded down, padding never wins.

    Source: caffe2/operators/pool_op.cc, PyTorch 1.10.
    """
    if arguments.flag("global_pooling"):
        return lambda x: (x.amax(dim=(2, 3), keepdim=True),)
    window = _read(arguments)
    padding = _torch_padding(window)

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        if padding is None:
            return (F.max_pool2d(pad_zero(x, window, float("-inf")), window.kernel, window.stride),)
        return (F.max_pool2d(x, window.kernel, window.stride, padding),)

    return compute


@kernel("AveragePool", inputs=(1, 1))
def build_average_pool(arguments: Arguments) -> Compute:
    """The mean of each window; padding is not counted unless `count_include_pad` says so.

    Source: caffe2/operators/pool_op.cc, PyTorch 1.10.
    """
    if arguments.flag("global_pooling"):
        return lambda x: (x.mean(dim=(2, 3), keepdim=True),)
    window = _read(arguments)
    padding, count_padding = _torch_padding(window), arguments.flag("count_include_pad")

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        if padding is not None:
            return (F.avg_pool2d(x, window.kernel, window.stride, padding, count_include_pad=count_padding),)
        mean = F.avg_pool2d(pad_zero(x, window), window.kernel, window.stride)
        if count_padding:
            return (mean,)
        share = F.avg_pool2d(pad_zero(x.new_ones(1, 1, *x.shape[2:]), window), window.kernel, window.stride)
        return (mean / share,)

    return compute


def _read(arguments: Arguments) -> Window:
    window = read_window(arguments)
    if window.dilation != (1, 1):
        raise UnsupportedOperator(f"{arguments.owner}: Caffe2's pooling has no dilation")
    top, left, bottom, right = window.pads
    if max(top, bottom) >= window.kernel[0] or max(left, right) >= window.kernel[1]:
        raise ModelFileError(f"{arguments.owner}: pads {list(window.pads)} leave a window with nothing in it")
    return window


def _torch_padding(window: Window) -> tuple[int, int] | None:
    """torch pads both sides alike and by half a kernel at the most."""
    padding = window.padding
    if padding is None or padding[0] * 2 > window.kernel[0] or padding[1] * 2 > window.kernel[1]:
        return None
    return padding
