"""Batch normalizations folded into the convolutions before them, so that the two are rounded as one layer."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


def fold_batch_normalizations(model: ir.Model) -> None:
    """Give, in place, the factors of each BatchNormalization of constants to the Conv that it alone reads.

    The weights of other layers, and arrays that several share, stay as they are.
    """
    graph = model.graph
    for node in list(graph):
        if node.op_type != "BatchNormalization" or _training(node):
            continue
        conv = node.inputs[0].producer() if node.inputs[0] is not None else None
        if conv is None or conv.op_type != "Conv" or len(conv.outputs[0].uses()) != 1:
            continue
        if conv.outputs[0].is_graph_output():
            continue
        constants = [_constant(value) for value in (*conv.inputs[1:], *node.inputs[1:])]
        if any(each is None for each in constants):
            continue
        weight, *bias = [each for each in constants[: len(conv.inputs) - 1] if each is not None]
        scale, shift, mean, variance = [each for each in constants[len(conv.inputs) - 1 :] if each is not None]
        # In double, so that the one rounding is the last.
        factor = scale / np.sqrt(variance + np.float64(node.attributes.get_float("epsilon", 1e-5)))
        offset = shift + ((bias[0] if bias else 0.0) - mean) * factor
        conv.replace_input_with(1, _initializer(graph, f"{conv.name}/weight", weight * factor[:, None, None, None]))
        conv.resize_inputs(3)
        conv.replace_input_with(2, _initializer(graph, f"{conv.name}/bias", offset))
        old, new = node.outputs[0], conv.outputs[0]
        new.type, new.shape = old.type, old.shape
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        name, old.name = old.name, None
        new.name = name
        graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def _training(node: ir.Node) -> bool:
    mode = node.attributes.get("training_mode")
    return mode is not None and mode.as_int() != 0


def _constant(value: ir.Value | None) -> NDArray[np.float64] | None:
    if value is None or value.const_value is None or not value.is_initializer():
        return None
    return value.const_value.numpy().astype(np.float64)


def _initializer(graph: ir.Graph, name: str, array: NDArray[np.float64]) -> ir.Value:
    tensor = ir.Tensor(array.astype(np.float32), name=name)
    value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value
