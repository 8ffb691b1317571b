"""Element by element, and along the last axis: activations, arithmetic, Clip, Softmax, Cast."""

import numpy as np
import onnx_ir as ir

from roastery.caffe2.operators.table import (
    ArgumentValue,
    NetOperator,
    attribute,
    axis_of,
    entry,
    names_of,
    refuse,
)
from roastery.onnx_graph import constant_value


@entry("Relu", "Sigmoid", "Exp")
def _activation(node: ir.Node) -> NetOperator:
    return NetOperator(node.op_type, names_of(node.inputs), names_of(node.outputs))


@entry("Add", "Sub", "Mul", "Div")
def _arithmetic(node: ir.Node) -> NetOperator:
    return NetOperator(node.op_type, names_of(node.inputs), names_of(node.outputs))


@entry("Clip")
def _clip(node: ir.Node) -> NetOperator:
    bounds = {name: value for name, value in zip(("min", "max"), node.inputs[1:], strict=False) if value is not None}
    arguments: dict[str, ArgumentValue] = {}
    for name, value in bounds.items():
        bound = constant_value(value)
        if bound is None or bound.size != 1 or bound.dtype != np.float32:
            raise refuse(node, f"its {name} is no constant float32")
        arguments[name] = float(bound.item())
    return NetOperator("Clip", names_of(node.inputs[:1]), names_of(node.outputs), arguments)


@entry("Softmax")
def _softmax(node: ir.Node) -> NetOperator:
    axis, rank = axis_of(node, -1)
    # Caffe2 flattens everything from the axis on, which is ONNX's softmax for the last axis only.
    if axis != rank - 1:
        raise refuse(node, f"softmax over axis {axis} of {rank}; Caffe2 has it over the last only")
    return NetOperator("Softmax", names_of(node.inputs), names_of(node.outputs), {"axis": axis})


# ONNX's numbers of data types to Caffe2's: float32, int32, int64, bool.
_DATA_TYPES = {1: 1, 6: 2, 7: 10, 9: 5}


@entry("Cast")
def _cast(node: ir.Node) -> NetOperator:
    to = attribute(node, "to", 0)
    if to not in _DATA_TYPES:
        raise refuse(node, f"a cast to ONNX's data type {to}")
    return NetOperator("Cast", names_of(node.inputs), names_of(node.outputs), {"to": _DATA_TYPES[to]})
