"""ResizeNearest, UpsampleNearest, UpsampleBilinear, PadImage."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.registry import Compute, kernel
from roastery.caffe2.kernels.window import read_window
from roastery.errors import ModelFileError, OperatorError

_PAD_MODES = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}


@kernel("ResizeNearest", inputs=(1, 2))
def build_resize_nearest(arguments: Arguments) -> Compute:
    """Each output pixel takes the input pixel at its own place divided by the scale, rounded down.

    Scales come as `height_scale` and `width_scale`, or as a second input (2,) float32 in that order.

    Source: caffe2/operators/resize_op.cc, PyTorch 1.10.
    """
    scales = _scales(arguments)

    def compute(x: Tensor, scales_blob: Tensor | None = None) -> tuple[Tensor, ...]:
        return (_nearest(x, *(scales if scales_blob is None else _read_scales(scales_blob))),)

    return compute


@kernel("UpsampleNearest", inputs=(1, 1))
def build_upsample_nearest(arguments: Arguments) -> Compute:
    """Each pixel `scale` times along both axes.

    Source: modules/detectron/upsample_nearest_op.h, PyTorch 1.10.
    """
    scale = arguments.integer("scale", 2)
    if scale < 1:
        raise ModelFileError(f"{arguments.owner}: scale {scale} is not positive")
    return lambda x: (x.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3),)


@kernel("UpsampleBilinear", inputs=(1, 2))
def build_upsample_bilinear(arguments: Arguments) -> Compute:
    """Bilinear with the corner pixels' centres on each other: steps of (in - 1) / (out - 1).

    Source: caffe2/operators/upsample_op.cc, PyTorch 1.10.
    """
    scales = _scales(arguments)

    def compute(x: Tensor, scales_blob: Tensor | None = None) -> tuple[Tensor, ...]:
        height, width = scales if scales_blob is None else _read_scales(scales_blob)
        size = (int(x.shape[2] * height), int(x.shape[3] * width))
        return (F.interpolate(x, size=size, mode="bilinear", align_corners=True),)

    return compute


@kernel("PadImage", inputs=(1, 1))
def build_pad_image(arguments: Arguments) -> Compute:
    """Pads (top, left, bottom, right) of a constant `value`, of the edge, or mirrored without the edge.

    Source: caffe2/operators/pad_op.cc, PyTorch 1.10.
    """
    mode, value = arguments.text("mode", "constant"), arguments.number("value", 0.0)
    if mode not in _PAD_MODES:
        raise ModelFileError(f"{arguments.owner}: mode {mode!r} is none of {', '.join(_PAD_MODES)}")
    top, left, bottom, right = read_window(arguments, needs_kernel=False).pads
    pads = (left, right, top, bottom)
    if mode == "constant":
        return lambda x: (F.pad(x, pads, value=value),)
    return lambda x: (F.pad(x, pads, mode=_PAD_MODES[mode]),)


def _scales(arguments: Arguments) -> tuple[float, float]:
    height, width = arguments.number("height_scale", 1.0), arguments.number("width_scale", 1.0)
    if not (0 < height < math.inf and 0 < width < math.inf):
        raise ModelFileError(f"{arguments.owner}: scales {height} and {width} are not positive")
    return height, width


def _read_scales(blob: Tensor) -> tuple[float, float]:
    if blob.shape != (2,) or not bool((blob > 0).all() and blob.isfinite().all()):
        raise OperatorError(f"scales must be two positive numbers, not {blob.flatten()[:8].tolist()}")
    height, width = blob.tolist()
    return height, width


def _nearest(x: Tensor, height: float, width: float) -> Tensor:
    # A power of two divides without rounding, so torch's quick way takes the same pixels.
    if all(scale >= 1 and math.frexp(scale)[0] == 0.5 for scale in (height, width)):
        return (
            F.interpolate(x, scale_factor=(height, width), mode="nearest") if x.numel() else _by_index(x, height, width)
        )
    return _by_index(x, height, width)


def _by_index(x: Tensor, height: float, width: float) -> Tensor:
    for axis, scale in ((2, height), (3, width)):
        size = x.shape[axis]
        places = torch.arange(int(torch.tensor(size, dtype=torch.float32) * scale), dtype=torch.float32) / scale
        x = x.index_select(axis, places.to(torch.int64).clamp(max=size - 1))
    return x
