"""Functions of each number alone: activations with their arguments, powers."""

import numpy as np
import onnx_ir as ir

from roastery.caffe2.operators.table import ArgumentValue, NetOperator, attribute, axis_of, entry, names_of, refuse
from roastery.onnx_graph import constant_value


@entry("Tanh", "Abs", "Erf", "Log", "Mish", "Reciprocal", "Sqrt")
def _function(node: ir.Node) -> NetOperator:
    return NetOperator(node.op_type, names_of(node.inputs), names_of(node.outputs))


@entry("Neg")
def _negative(node: ir.Node) -> NetOperator:
    return NetOperator("Negative", names_of(node.inputs), names_of(node.outputs))


# For each ONNX type its attributes, with ONNX's defaults, and what Caffe2 calls them.
_NUMBERS: dict[str, dict[str, tuple[str, float]]] = {
    "LeakyRelu": {"alpha": ("alpha", 0.01)},
    "Elu": {"alpha": ("alpha", 1.0)},
    "Selu": {"alpha": ("alpha", 1.67326319217681884765625), "gamma": ("scale", 1.05070102214813232421875)},
    "HardSigmoid": {"alpha": ("alpha", 0.2), "beta": ("beta", 0.5)},
}


@entry(*_NUMBERS)
def _with_numbers(node: ir.Node) -> NetOperator:
    # Written out: Caffe2's defaults are others than ONNX's, or may be.
    arguments: dict[str, ArgumentValue] = {
        theirs: float(attribute(node, name, default)) for name, (theirs, default) in _NUMBERS[node.op_type].items()
    }
    if arguments.get("scale", 2.0) <= 1.0:  # type: ignore[operator]
        raise refuse(node, "Caffe2 has a Selu of a gamma over 1 alone")
    return NetOperator(node.op_type, names_of(node.inputs), names_of(node.outputs), arguments)


@entry("PRelu")
def _parametric_relu(node: ir.Node) -> NetOperator:
    _, rank = axis_of(node, 0)
    slope = constant_value(node.inputs[1])
    if slope is None or rank < 2 or (slope.size != 1 and slope.shape[-(rank - 1) :] != (slope.size, *[1] * (rank - 2))):
        raise refuse(node, "its slopes are not one number, or one a channel, that are constants")
    return NetOperator("PRelu", names_of(node.inputs), names_of(node.outputs))


@entry("Gelu")
def _gelu(node: ir.Node) -> NetOperator:
    how = attribute(node, "approximate", "none")
    if how not in ("none", "tanh"):
        raise refuse(node, f"approximate={how!r}; Caffe2 has it exact, or by tanh")
    return NetOperator("Gelu", names_of(node.inputs), names_of(node.outputs), {"fast_gelu": int(how == "tanh")})


@entry("Pow")
def _power(node: ir.Node) -> NetOperator:
    number = constant_value(node.inputs[1])
    rank = axis_of(node, 0)[1] if number is None or number.ndim else 0
    if number is not None and number.size == 1 and number.ndim <= rank and number.dtype == np.float32:
        exponent: dict[str, ArgumentValue] = {"exponent": float(number.item())}
        return NetOperator("Pow", names_of(node.inputs[:1]), names_of(node.outputs), exponent)
    shapes = [None if value is None or value.shape is None else tuple(value.shape) for value in node.inputs[:2]]
    if shapes[1] is not None and len(shapes[1]) <= rank and set(shapes[1]) <= {1}:
        return NetOperator("Pow", names_of(node.inputs), names_of(node.outputs), {"broadcast": 1})
    if shapes[0] != shapes[1]:
        raise refuse(node, "its exponent is neither one number nor of the shape of its base")
    return NetOperator("Pow", names_of(node.inputs), names_of(node.outputs))
