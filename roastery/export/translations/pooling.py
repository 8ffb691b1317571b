"""Windows of maps: the largest value, the mean; also of a whole map.

With `ceil_mode` PyTorch takes one more window where pixels are left over. Padding at the end gives it too: by a stride
less one, whatever the size of the map, as long as such a window never begins in the padding.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import opset21 as op

from roastery.errors import UnsupportedOperator
from roastery.export.translations.constants import whole_numbers
from roastery.export.translations.maps import pair


def pooling() -> dict[Any, Callable[..., Any]]:
    """The entries of this file."""
    aten = torch.ops.aten
    return {
        aten.max_pool2d.default: _max_pool,
        aten.avg_pool2d.default: _average_pool,
        aten.adaptive_avg_pool2d.default: lambda x, size: op.GlobalAveragePool(_whole_map(x, size)),
        aten.adaptive_max_pool2d.default: _adaptive_max_pool,
    }


def _max_pool(
    x: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = (),
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Any:
    kernel, pads = pair(kernel_size), pair(padding)
    strides = pair(stride or kernel)
    y, _ = op.MaxPool(
        x,
        kernel_shape=kernel,
        strides=strides,
        pads=[*pads, *_at_the_end(strides, pads, ceil_mode)],
        dilations=pair(dilation),
    )
    return y


def _average_pool(
    x: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = (),
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    if divisor_override is not None:
        raise UnsupportedOperator("an average over another number than the window's has no Caffe2 form; multiply it")
    kernel, pads = pair(kernel_size), pair(padding)
    strides = pair(stride or kernel)
    end = _at_the_end(strides, pads, ceil_mode)
    if end != pads and count_include_pad and any(pads):
        # PyTorch counts its own padding, and not what a window reaches beyond it.
        x = op.Pad(x, whole_numbers([0, 0, *pads, 0, 0, *pads]), mode="constant")
        end = [after - before for after, before in zip(end, pads, strict=True)]
        pads = [0, 0]
    counts_padding = int(count_include_pad and end == pads and any(pads))
    return op.AveragePool(x, kernel_shape=kernel, strides=strides, pads=[*pads, *end], count_include_pad=counts_padding)


def _at_the_end(strides: list[int], pads: list[int], ceil_mode: bool) -> list[int]:
    """The padding at the lower and right ends. A window that would begin in it has been refused (`known_sizes`)."""
    return [pad + stride - 1 for pad, stride in zip(pads, strides, strict=True)] if ceil_mode else pads


def _adaptive_max_pool(x: Any, output_size: Sequence[int]) -> tuple[Any, Any]:
    y = op.GlobalMaxPool(_whole_map(x, output_size))
    # The places of the largest values have no users; the exporter wants a value all the same.
    return y, op.Identity(y)


def _whole_map(x: Any, size: Sequence[Any]) -> Any:
    if any(not isinstance(side, int) or side != 1 for side in size):
        raise UnsupportedOperator(f"adaptive pooling to {list(size)} has no Caffe2 form; pool to 1, or by a kernel")
    return x
