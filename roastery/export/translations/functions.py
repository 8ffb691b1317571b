"""Activations and powers, by parts where Caffe2 has none, or one that overflows."""

import math
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset21 as op

from roastery.errors import UnsupportedOperator
from roastery.export.translations.constants import whole_numbers


def functions() -> dict[Any, Callable[..., Any]]:
    """The entries of this file."""
    aten = torch.ops.aten
    return {
        aten.elu.default: _elu,
        aten.celu.default: _celu,
        aten.prelu.default: _prelu,
        aten.hardswish.default: _hardswish,
        aten.softplus.default: _softplus,
        aten.log_sigmoid.default: _log_sigmoid,
        aten.log_sigmoid_forward.default: _log_sigmoid_forward,
        aten.log2.default: lambda x: op.Mul(op.Log(x), _number(1 / math.log(2))),
        aten.log10.default: lambda x: op.Mul(op.Log(x), _number(1 / math.log(10))),
        aten.square.default: _square,
        aten.pow.Tensor_Scalar: _power,
        aten.pow.Tensor_Tensor: _power_of_tensors,
        aten.pow.Scalar: _power_of_number,
    }


def _number(value: float) -> Any:
    return op.Constant(value_float=float(value))


def _scaled(x: Any, factor: float) -> Any:
    return x if factor == 1 else op.Mul(x, _number(factor))


def _elu(x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    if input_scale != 1:
        raise UnsupportedOperator(f"an ELU with an input scale of {input_scale} has no Caffe2 form; leave it at 1")
    return _scaled(op.Elu(x, alpha=float(alpha)), scale)


def _celu(x: Any, alpha: float = 1.0) -> Any:
    return _scaled(op.Elu(_scaled(x, 1 / alpha), alpha=1.0), alpha)


def _prelu(x: Any, weight: Any) -> Any:
    """One slope, or one a channel, which ONNX wants beside the channels."""
    count = weight.shape[0]
    if count == 1:
        return op.PRelu(x, weight)
    return op.PRelu(x, op.Reshape(weight, whole_numbers([count, *[1] * (len(x.shape) - 2)])))


def _hardswish(x: Any) -> Any:
    return op.Mul(x, op.HardSigmoid(x, alpha=1 / 6, beta=0.5))


# From here on log(1 + e^x) is x, to 5 millionths.
_LINEAR = 10.0


# Beside one float32's step next to 1 it is nothing.
_TINY = 1e-30


def _softened_corner(x: Any) -> Any:
    """log(1 + e^-|x|), right to a few steps of float32 where the power is lost beside 1 too.

    What 1 + y has lost of y is made good by y / ((1 + y) - 1). Where that is all of it, two
    tiny numbers make the quotient 1.
    """
    power = op.Exp(op.Neg(op.Abs(x)))
    whole = op.Add(power, _number(1.0))
    tiny = _number(_TINY)
    return op.Mul(power, op.Div(op.Add(op.Log(whole), tiny), op.Add(op.Sub(whole, _number(1.0)), tiny)))


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e^x). Caffe2's own Softplus is infinite from 89 on."""
    if threshold < _LINEAR:
        raise UnsupportedOperator(
            f"a softplus with a jump at its threshold {threshold} has no Caffe2 form; leave it at 20"
        )
    scaled = _scaled(x, beta)
    return _scaled(op.Add(op.Relu(scaled), _softened_corner(scaled)), 1 / beta)


def _log_sigmoid(x: Any) -> Any:
    return op.Sub(op.Clip(x, None, _number(0.0)), _softened_corner(x))


def _log_sigmoid_forward(x: Any) -> tuple[Any, Any]:
    # The second is for the gradient, and nobody reads it.
    return _log_sigmoid(x), op.Identity(x)


def _square(x: Any) -> Any:
    return op.Mul(x, x)


def _power(x: Any, exponent: float) -> Any:
    """The common ones by what Caffe2 has: its Pow is slower, and another at minus infinity."""
    if exponent == 2:
        return _square(x)
    if x.dtype != ir.DataType.FLOAT:
        raise UnsupportedOperator(f"a power of {x.dtype} has no Caffe2 form but the square; make it float32 before")
    simple: dict[float, Callable[[Any], Any]] = {
        1: op.Identity,
        0.5: op.Sqrt,
        -0.5: lambda x: op.Reciprocal(op.Sqrt(x)),
        -1: op.Reciprocal,
    }
    return simple[exponent](x) if exponent in simple else op.Pow(x, _number(exponent))


def _power_of_tensors(x: Any, exponent: Any) -> Any:
    if {x.dtype, exponent.dtype} != {ir.DataType.FLOAT}:
        raise UnsupportedOperator("a power of whole numbers has no Caffe2 form; make both float32 before")
    one = set(exponent.shape) <= {1} and len(exponent.shape) <= len(x.shape)
    if not one and list(x.shape) != list(exponent.shape):
        # Caffe2's Pow broadcasts nothing, its Add does: each gets the other's sizes with nothing added.
        both = _broadcast(x.shape, exponent.shape)
        x, exponent = op.Add(x, _nothing(exponent)), op.Add(exponent, _nothing(x))
        x.shape = exponent.shape = both
    return op.Pow(x, exponent)


def _nothing(x: Any) -> Any:
    """Zeros of the tensor's shape, whatever is in it."""
    return op.Clip(x, _number(0.0), _number(0.0))


def _broadcast(*shapes: Any) -> ir.Shape:
    """numpy's rule; of sizes that depend on the image the first that is there."""
    rank = max(len(shape) for shape in shapes)
    aligned = [[1] * (rank - len(shape)) + list(shape) for shape in shapes]
    return ir.Shape([next((size for size in sizes if size != 1), 1) for sizes in zip(*aligned, strict=True)])


def _power_of_number(base: float, exponent: Any) -> Any:
    """By e: Caffe2's Pow has no number for its base."""
    if not isinstance(base, int | float) or base <= 0 or exponent.dtype != ir.DataType.FLOAT:
        raise UnsupportedOperator(f"{base} to the power of {exponent.dtype} has no Caffe2 form; take a positive base")
    return op.Exp(_scaled(exponent, math.log(base)))
