"""Convolutions."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import opset21 as op


def maps() -> dict[Any, Callable[..., Any]]:
    """The entries of this file."""
    aten = torch.ops.aten
    return {
        aten.conv2d.default: _conv2d,
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
        strides=_pair(stride),
        pads=_pair(padding) * 2,
        dilations=_pair(dilation),
        group=groups,
        kernel_shape=[int(size) for size in weight.shape[2:]],
    )


def _pair(value: int | Sequence[int]) -> list[int]:
    if isinstance(value, int):
        return [value, value]
    return list(value) * (2 // len(value))
