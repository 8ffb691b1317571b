"""Norms that are left whole: batch norms that follow no convolution, instance and layer norms."""

import onnx_ir as ir

from roastery.caffe2.operators.table import ArgumentValue, NetOperator, attribute, axis_of, entry, names_of, refuse
from roastery.onnx_graph import constant_value


@entry("BatchNormalization")
def _batch_norm(node: ir.Node) -> NetOperator:
    if attribute(node, "training_mode", 0):
        raise refuse(node, "a batch norm by the statistics of its input; call eval() and keep the running ones")
    arguments: dict[str, ArgumentValue] = {
        "epsilon": attribute(node, "epsilon", 1e-5),
        "is_test": 1,
        "order": "NCHW",
    }
    return NetOperator("SpatialBN", names_of(node.inputs), names_of(node.outputs)[:1], arguments)


@entry("InstanceNormalization")
def _instance_norm(node: ir.Node) -> NetOperator:
    """A group norm with a channel in each group.

    Caffe2's InstanceNorm crashes of no rows, and takes the variance from sums of squares: with a mean of 1000
    deviations it is wrong by a tenth.
    """
    scale = constant_value(node.inputs[1])
    if scale is None or scale.ndim != 1:
        raise refuse(node, "its scale is no constant vector")
    epsilon = attribute(node, "epsilon", 1e-5)
    arguments: dict[str, ArgumentValue] = {"group": len(scale), "epsilon": epsilon, "eps": epsilon, "order": "NCHW"}
    return NetOperator("GroupNorm", names_of(node.inputs), names_of(node.outputs), arguments)


@entry("LayerNormalization")
def _layer_norm(node: ir.Node) -> NetOperator:
    axis, rank = axis_of(node, -1)
    if rank < 2 or not 0 <= axis < rank or attribute(node, "stash_type", 1) != 1:
        raise refuse(node, "Caffe2 has it in float32, of two axes or more")
    statistics = node.outputs[1:]
    if len(names_of(node.inputs)) != 3 or any(value.uses() or value.is_graph_output() for value in statistics):
        raise refuse(node, "only one with scale and bias, whose statistics nobody reads, becomes a LayerNorm")
    output = names_of(node.outputs)[0]
    arguments: dict[str, ArgumentValue] = {
        "axis": axis,
        "epsilon": attribute(node, "epsilon", 1e-5),
        "elementwise_affine": 1,
    }
    # Caffe2 gives the statistics too, whether they are read or not.
    outputs = (output, f"{output}_mean", f"{output}_deviation")
    return NetOperator("LayerNorm", names_of(node.inputs), outputs, arguments)
