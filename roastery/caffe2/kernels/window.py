"""The sliding window of convolutions and poolings: Caffe2's many ways to write kernel, stride, pad and dilation."""

from dataclasses import dataclass

from roastery.caffe2.arguments import Arguments
from roastery.errors import ModelFileError, UnsupportedOperator


@dataclass(frozen=True)
class Window:
    """Sizes along height and width; pads are top, left, bottom, right."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]

    @property
    def padding(self) -> tuple[int, int] | None:
        """The pads as torch takes them; None where both sides of an axis differ."""
        top, left, bottom, right = self.pads
        return (top, left) if (top, left) == (bottom, right) else None


def read_window(arguments: Arguments, needs_kernel: bool = True) -> Window:
    """Read it.

    Raises:
        ModelFileError: a list of the wrong length, a size that makes no sense.
        UnsupportedOperator: padding by a legacy rule.

    Source: caffe2/operators/conv_pool_op_base.h, conv_transpose_unpool_op_base.h, PyTorch 1.10.
    """
    if arguments.integer("legacy_pad", 0):
        raise UnsupportedOperator(f"{arguments.owner}: legacy_pad is not supported; write pads out")
    kernel = _pair(arguments, "kernels", "kernel", ("kernel_h", "kernel_w"), 0)
    stride = _pair(arguments, "strides", "stride", ("stride_h", "stride_w"), 1)
    dilation = _pair(arguments, "dilations", "dilation", ("dilation_h", "dilation_w"), 1)
    pads = _pads(arguments)
    smallest = 1 if needs_kernel else 0
    if min(kernel) < smallest or min(stride) < 1 or min(dilation) < 1 or min(pads) < 0:
        raise ModelFileError(
            f"{arguments.owner}: kernels {list(kernel)}, strides {list(stride)}, dilations {list(dilation)}, "
            f"pads {list(pads)} make no window"
        )
    return Window(kernel, stride, pads, dilation)


def _pair(arguments: Arguments, many: str, one: str, each: tuple[str, str], default: int) -> tuple[int, int]:
    values = arguments.integers(many, [])
    if not values and one in arguments:
        values = [arguments.integer(one, default)] * 2
    # As in Caffe2, these count only if all are there.
    if not values and all(name in arguments for name in each):
        values = [arguments.integer(name, default) for name in each]
    values = values or [default] * 2
    if len(values) != 2:
        raise ModelFileError(f"{arguments.owner}: {many} {values} are not two (height, width)")
    return values[0], values[1]


def _pads(arguments: Arguments) -> tuple[int, int, int, int]:
    values = arguments.integers("pads", [])
    if not values and "pad" in arguments:
        values = [arguments.integer("pad", 0)] * 4
    sides = ("pad_t", "pad_l", "pad_b", "pad_r")
    if not values and all(name in arguments for name in sides):
        values = [arguments.integer(name, 0) for name in sides]
    values = values or [0] * 4
    if len(values) != 4:
        raise ModelFileError(f"{arguments.owner}: pads {values} are not four (top, left, bottom, right)")
    return values[0], values[1], values[2], values[3]
