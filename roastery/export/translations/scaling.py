"""Maps made larger and smaller: nearest and bilinear scaling, and pixels shuffled with channels."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from onnxscript import opset21 as op

from roastery.errors import UnsupportedOperator
from roastery.export.translations.constants import floats, tensor

# As far as PyTorch's and Caffe2's roundings are compared: rows of a map.
_MOST_ROWS = 2**14
_NEIGHBOURS = 8


def scaling() -> dict[Any, Callable[..., Any]]:
    """The entries of this file."""
    aten = torch.ops.aten
    return {
        aten.upsample_nearest2d.vec: _nearest,
        aten._upsample_nearest_exact2d.vec: _nearest_exact,
        aten.upsample_bilinear2d.vec: _bilinear,
        aten.pixel_shuffle.default: _pixel_shuffle,
        aten.pixel_unshuffle.default: _pixel_unshuffle,
    }


def _nearest(x: Any, output_size: Any, scale_factors: Sequence[float] | None) -> Any:
    scales = [nearest_scale(factor) for factor in _factors(scale_factors)]
    return op.Resize(
        x,
        None,
        floats([1.0, 1.0, *scales]),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def nearest_scale(factor: float) -> float:
    """The float32 by which to divide a row's number, for the row that PyTorch takes.

    PyTorch multiplies the row's number by a rounded inverse, Caffe2 divides it; they round the size in other ways too.

    Raises:
        UnsupportedOperator: no number gives PyTorch's rows for every map.
    """
    rows = np.arange(_MOST_ROWS, dtype=np.float32)
    wanted = np.floor(rows * np.float32(1.0 / factor)).astype(np.int64)
    sizes = np.floor(np.arange(_MOST_ROWS) * factor).astype(np.int64)
    up = down = np.float32(factor)
    for _ in range(_NEIGHBOURS):
        for scale in (up, down):
            same_rows = ((rows / scale).astype(np.int64) == wanted).all()
            if same_rows and ((rows * scale).astype(np.int64) == sizes).all():
                return float(scale)
        up, down = np.nextafter(up, np.float32(np.inf)), np.nextafter(down, np.float32(0))
    raise UnsupportedOperator(
        f"nearest scaling by {factor:g} takes other rows in PyTorch than in Caffe2, which rounds in another way; "
        "scale by another factor"
    )


def _nearest_exact(x: Any, output_size: Any, scale_factors: Sequence[float] | None) -> Any:
    factors = _factors(scale_factors)
    if any(factor != int(factor) for factor in factors):
        raise UnsupportedOperator(f"nearest-exact scaling by {factors} has no Caffe2 form; scale by whole factors")
    return _nearest(x, None, factors)


def _bilinear(x: Any, output_size: Any, align_corners: bool, scale_factors: Sequence[float] | None) -> Any:
    factors = _factors(scale_factors)
    if not align_corners and factors == [0.5, 0.5]:
        # Each pixel lies in the middle of four.
        return op.AveragePool(x, kernel_shape=[2, 2], strides=[2, 2])
    return op.Resize(
        x,
        None,
        floats([1.0, 1.0, *factors]),
        mode="linear",
        coordinate_transformation_mode="align_corners" if align_corners else "half_pixel",
    )


def _factors(scale_factors: Sequence[float] | None) -> list[float]:
    if scale_factors is None:
        raise UnsupportedOperator("scaling to a size that is computed has no Caffe2 form; scale by a constant factor")
    return [float(factor) for factor in scale_factors]


def _pixel_shuffle(x: Any, upscale_factor: int) -> Any:
    """A transposed convolution with steps of its kernel, which puts each channel's pixel in its place."""
    channels, weight = _places(int(x.shape[-3]) // upscale_factor**2, upscale_factor)
    side = [upscale_factor] * 2
    return op.ConvTranspose(x, weight, kernel_shape=side, strides=side, group=channels)


def _pixel_unshuffle(x: Any, downscale_factor: int) -> Any:
    """The convolution that takes each of a window's pixels into a channel of its own."""
    channels, weight = _places(int(x.shape[-3]), downscale_factor)
    side = [downscale_factor] * 2
    return op.Conv(x, weight, kernel_shape=side, strides=side, group=channels)


def _places(channels: int, side: int) -> tuple[int, Any]:
    """Kernels (channels side^2, 1, side, side), each with a one in a place of its own."""
    kernels = np.tile(np.eye(side * side, dtype=np.float32), (channels, 1)).reshape(-1, 1, side, side)
    return channels, tensor(kernels)
