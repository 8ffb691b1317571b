"""Norms. ONNX's and Caffe2's have scale and shift always: where PyTorch's has none they are ones and zeros."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from onnxscript import opset21 as op

from roastery.errors import UnsupportedOperator
from roastery.export.translations.constants import tensor


def norms() -> dict[Any, Callable[..., Any]]:
    """The entries of this file."""
    aten = torch.ops.aten
    return {
        aten._native_batch_norm_legit_no_training.default: _batch_norm,
        aten.group_norm.default: _group_norm,
        aten.instance_norm.default: _instance_norm,
        aten.layer_norm.default: _layer_norm,
    }


def _affine(weight: Any, bias: Any, *sizes: int) -> tuple[Any, Any]:
    return (
        tensor(np.ones(sizes, np.float32)) if weight is None else weight,
        tensor(np.zeros(sizes, np.float32)) if bias is None else bias,
    )


def _batch_norm(
    x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
) -> tuple[Any, Any, Any]:
    y = op.BatchNormalization(x, *_affine(weight, bias, _channels(x)), running_mean, running_var, epsilon=eps)
    # The saved statistics that PyTorch also gives have no users at inference; the exporter wants values all the same.
    return y, op.Identity(running_mean), op.Identity(running_var)


def _group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Any:
    return op.GroupNormalization(x, *_affine(weight, bias, _channels(x)), num_groups=num_groups, epsilon=eps)


def _instance_norm(
    x: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    scale, shift = _affine(weight, bias, _channels(x))
    if use_input_stats:
        return op.InstanceNormalization(x, scale, shift, epsilon=eps)
    return op.BatchNormalization(x, scale, shift, running_mean, running_var, epsilon=eps)


def _layer_norm(
    x: Any,
    normalized_shape: Sequence[Any],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Any:
    if not all(isinstance(size, int) for size in normalized_shape) or prod(normalized_shape) < 1:
        raise UnsupportedOperator(
            f"a layer norm over {list(normalized_shape)}, which depend on the image, has no Caffe2 form; "
            "normalise over channels, or by mean and variance"
        )
    scale, shift = _affine(weight, bias, *normalized_shape)
    y, *_ = op.LayerNormalization(x, scale, shift, axis=-len(normalized_shape), epsilon=eps)
    return y


def _channels(x: Any) -> int:
    size = x.shape[1]
    if not isinstance(size, int):
        raise UnsupportedOperator("a norm of channels whose number depends on the image has no Caffe2 form; fix it")
    return size
