"""Sums over axes: reductions, products of matrices, FC."""

import onnx_ir as ir

from roastery.caffe2.operators.table import (
    ArgumentValue,
    NetOperator,
    attribute,
    entry,
    names_of,
    refuse,
    require,
)
from roastery.onnx_graph import constant_value


@entry("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
def _reduction(node: ir.Node) -> NetOperator:
    given = node.inputs[1] if len(node.inputs) > 1 else None
    axes = constant_value(given)
    if (given is not None and axes is None) or attribute(node, "noop_with_empty_axes", 0):
        raise refuse(node, "its axes are no constants")
    arguments: dict[str, ArgumentValue] = {
        # Negative ones count from behind, and none is all of them, in Caffe2 too.
        "axes": [] if axes is None else [int(axis) for axis in axes],
        "keepdims": attribute(node, "keepdims", 1),
    }
    return NetOperator(node.op_type, names_of(node.inputs[:1]), names_of(node.outputs), arguments)


@entry("MatMul")
def _matmul(node: ir.Node) -> NetOperator:
    ranks = [None if value is None or value.shape is None else len(value.shape) for value in node.inputs[:2]]
    if any(rank is None or rank < 2 for rank in ranks):
        raise refuse(node, "a product with a vector, or with what has an unknown rank; make it a matrix")
    return NetOperator("BatchMatMul", names_of(node.inputs), names_of(node.outputs), {"broadcast": 1})


@entry("Gemm")
def _fully_connected(node: ir.Node) -> NetOperator:
    require(node, "transA", 0, "only x W' + b is an FC")
    require(node, "transB", 1, "only x W' + b is an FC")
    require(node, "alpha", 1.0, "only x W' + b is an FC")
    require(node, "beta", 1.0, "only x W' + b is an FC")
    if len(names_of(node.inputs)) == 2:
        # An FC needs a bias.
        return NetOperator("BatchMatMul", names_of(node.inputs), names_of(node.outputs), {"trans_b": 1})
    return NetOperator("FC", names_of(node.inputs), names_of(node.outputs))
