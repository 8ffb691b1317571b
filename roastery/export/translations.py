"""Translations of PyTorch operators to ONNX where the exporter's own say too much for Caffe2.

The exporter computes a zero bias for a convolution without one, spells group normalisation out in ten nodes, and turns
a flatten, a slice and an index into arithmetic on shapes. Caffe2 has each as one operator, so here each becomes one
node.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset21 as op

from roastery.errors import UnsupportedOperator

_TO_THE_END = 2**63 - 1
_WHOLE = (ir.DataType.INT32, ir.DataType.INT64)


def plain_translations() -> dict[Any, Callable[..., Any]]:
    """`custom_translation_table` entries for PyTorch's own operators."""
    aten = torch.ops.aten
    return {
        aten.conv2d.default: _conv2d,
        aten._native_batch_norm_legit_no_training.default: _batch_norm,
        aten.group_norm.default: _group_norm,
        aten.mean.dim: _mean,
        aten.view.default: _view,
        aten._unsafe_view.default: _view,
        aten.reshape.default: _view,
        aten.slice.Tensor: _slice,
        aten.index.Tensor: _index,
        aten.clamp.default: _clamp,
        aten.clamp.Tensor: _clamp,
        aten.clamp_min.Tensor: _clamp,
        aten.clamp_max.Tensor: _clamp_max,
        aten.clamp_min.default: _clamp,
        aten.clamp_max.default: _clamp_max,
        aten.hardtanh.default: _hardtanh,
        aten.relu6.default: _relu6,
        aten.div.Tensor_mode: _div_mode,
        aten.div.Scalar_mode: _div_mode,
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


def _batch_norm(
    x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
) -> tuple[Any, Any, Any]:
    if weight is None or bias is None:
        raise UnsupportedOperator("batch normalisation without weight and bias has no Caffe2 form; set affine=True")
    y = op.BatchNormalization(x, weight, bias, running_mean, running_var, epsilon=eps)
    # The saved statistics that PyTorch also gives have no users at inference; the exporter wants values all the same.
    return y, op.Identity(running_mean), op.Identity(running_var)


def _group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Any:
    if weight is None or bias is None:
        raise UnsupportedOperator("group normalisation without weight and bias has no Caffe2 form; set affine=True")
    return op.GroupNormalization(x, weight, bias, num_groups=num_groups, epsilon=eps)


def _mean(x: Any, dim: Sequence[int] | None, keepdim: bool = False, dtype: Any = None) -> Any:
    if not dim or dtype is not None:
        raise UnsupportedOperator("a mean over no named axes, or of another type, has no Caffe2 form; name the axes")
    axes: Any = op.Constant(value_ints=list(dim))
    return op.ReduceMean(x, axes, keepdims=int(keepdim))


def _view(x: Any, size: Sequence[Any]) -> Any:
    """A view whose first size alone is symbolic is a flatten or a reshape by constants; Caffe2 has no other."""
    sizes = [value if isinstance(value, int) else None for value in size]
    known = [value if isinstance(value, int) else None for value in (x.shape or [])]
    if sizes.count(None) + sizes.count(-1) > 1:
        raise UnsupportedOperator(
            f"a view to {list(size)} with more than one size that depends on the image has no Caffe2 form"
        )
    if len(sizes) == 2 and len(known) > 2 and None not in known[1:] and sizes[1] == prod(n or 0 for n in known[1:]):
        return op.Flatten(x, axis=1)
    shape = [-1 if value is None else value for value in sizes]
    constant: Any = op.Constant(value_ints=shape)
    return op.Reshape(x, constant)


def _slice(x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    start, end = 0 if start is None else start, _TO_THE_END if end is None else end
    if step != 1 or not (isinstance(start, int) and isinstance(end, int)):
        raise UnsupportedOperator(f"a slice from {start} to {end} by {step} has no Caffe2 form; cut at constant places")
    places: list[Any] = [op.Constant(value_ints=[value]) for value in (start, end, dim)]
    return op.Slice(x, *places)


def _index(x: Any, indices: Sequence[Any]) -> Any:
    """Places of one axis by one vector; negative ones count from behind, as in Caffe2's Gather."""
    given = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    if len(given) != 1 or len(given[0][1].shape) != 1:
        raise UnsupportedOperator("an index by more than one vector of places has no Caffe2 form; index one axis")
    axis, index = given[0]
    if index.dtype not in _WHOLE:
        raise UnsupportedOperator("an index by a mask has no Caffe2 form; index by int64 places")
    return op.Gather(x, index, axis=axis)


def _clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    if x.dtype != ir.DataType.FLOAT:
        raise UnsupportedOperator("whole numbers cannot be clamped in Caffe2; clamp them as float32")
    return op.Clip(x, *(None if bound is None else op.Constant(value_float=_number(bound)) for bound in (min, max)))


def _number(bound: Any) -> float:
    """A bound that is a number; the exporter makes a tensor of a whole one beside floats."""
    if isinstance(bound, int | float):
        return float(bound)
    producer = bound.producer()
    while producer is not None and producer.op_type == "Cast":
        producer = producer.inputs[0].producer()
    if producer is not None and producer.op_type == "Constant" and "value" in producer.attributes:
        value = producer.attributes["value"].as_tensor().numpy()
        if value.size == 1:
            return float(value.item())
    raise UnsupportedOperator("a clamp to what is computed has no Caffe2 form; clamp to constant numbers")


def _clamp_max(x: Any, max: Any) -> Any:
    return _clamp(x, None, max)


def _hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    return _clamp(x, min_val, max_val)


def _relu6(x: Any) -> Any:
    return _clamp(x, 0.0, 6.0)


def _div_mode(a: Any, b: Any, rounding_mode: str | None = None) -> Any:
    """ONNX and Caffe2 divide whole numbers towards zero."""
    if rounding_mode != "trunc" or a.dtype not in _WHOLE:
        raise UnsupportedOperator(
            f"a division of {a.dtype} with rounding mode {rounding_mode!r} has no Caffe2 form; "
            "divide whole numbers, with 'trunc'"
        )
    return op.Div(a, b)


def _pair(value: int | Sequence[int]) -> list[int]:
    if isinstance(value, int):
        return [value, value]
    return list(value) * (2 // len(value))
