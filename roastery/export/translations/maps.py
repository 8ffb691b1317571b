"""Convolutions."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import opset21 as op

from roastery.export.translations.constants import whole_numbers


def maps() -> dict[Any, Callable[..., Any]]:
    """The entries of this file."""
    aten = torch.ops.aten
    return {
        aten.conv2d.default: _conv2d,
        aten.conv2d.padding: _conv2d_by_rule,
        aten.conv1d.default: _conv1d,
        aten.conv1d.padding: _conv1d,
    }


def _conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Any:
    return op.Conv(
        *([x, weight] if bias is None else [x, weight, bias]),
        strides=pair(stride),
        pads=pair(padding) * 2,
        dilations=pair(dilation),
        group=groups,
        kernel_shape=[int(size) for size in weight.shape[2:]],
    )


def _conv2d_by_rule(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sequence[int] = (1, 1),
    padding: str = "valid",
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Any:
    """`padding="same"`: where it is odd, one more at the end."""
    sizes = [int(size) for size in weight.shape[2:]]
    total = [0, 0] if padding == "valid" else [d * (k - 1) for d, k in zip(pair(dilation), sizes, strict=True)]
    return op.Conv(
        *([x, weight] if bias is None else [x, weight, bias]),
        strides=pair(stride),
        pads=[each // 2 for each in total] + [each - each // 2 for each in total],
        dilations=pair(dilation),
        group=groups,
        kernel_shape=sizes,
    )


def _conv1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] | str = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Any:
    """Of a map one pixel high."""
    size, (step,) = int(weight.shape[2]), dilation
    total = step * (size - 1) if padding == "same" else 0
    before, after = (total // 2, total - total // 2) if isinstance(padding, str) else list(padding) * 2
    axis = whole_numbers([2])
    y = op.Conv(
        *[op.Unsqueeze(x, axis), op.Unsqueeze(weight, axis), *([] if bias is None else [bias])],
        strides=[1, *stride],
        pads=[0, before, 0, after],
        dilations=[1, step],
        group=groups,
        kernel_shape=[1, size],
    )
    return op.Squeeze(y, axis)


def pair(value: int | Sequence[int]) -> list[int]:
    """Of height and width: one number for both, or for each."""
    if isinstance(value, int):
        return [value, value]
    return list(value) * (2 // len(value))
