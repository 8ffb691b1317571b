"""Sums over axes: ReduceMean and FC."""

import onnx_ir as ir

from roastery.caffe2.operators.table import (
    ArgumentValue,
    NetOperator,
    attribute,
    axis_of,
    entry,
    names_of,
    refuse,
    require,
)
from roastery.caffe2.passes import constant_value


@entry("ReduceMean")
def _reduce_mean(node: ir.Node) -> NetOperator:
    axes = constant_value(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or not axes.size:
        raise refuse(node, "its axes are no constants")
    _, rank = axis_of(node, 0)
    arguments: dict[str, ArgumentValue] = {
        "axes": [int(axis) % rank for axis in axes],
        "keepdims": attribute(node, "keepdims", 1),
    }
    return NetOperator("ReduceMean", names_of(node.inputs[:1]), names_of(node.outputs), arguments)


@entry("Gemm")
def _fully_connected(node: ir.Node) -> NetOperator:
    require(node, "transA", 0, "only x W' + b is an FC")
    require(node, "transB", 1, "only x W' + b is an FC")
    require(node, "alpha", 1.0, "only x W' + b is an FC")
    require(node, "beta", 1.0, "only x W' + b is an FC")
    if len(node.inputs) != 3:
        raise refuse(node, "an FC needs a bias")
    return NetOperator("FC", names_of(node.inputs), names_of(node.outputs))
