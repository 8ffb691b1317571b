"""Element by element."""

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset21 as op

from roastery.errors import UnsupportedOperator


def elementwise() -> dict[Any, Callable[..., Any]]:
    """The entries of this file."""
    aten = torch.ops.aten
    return {
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


_WHOLE = (ir.DataType.INT32, ir.DataType.INT64)


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
