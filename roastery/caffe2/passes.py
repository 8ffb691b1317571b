"""Small passes over the ONNX graph that make it Caffe2's size: constants as initializers, batch norms folded.

What is made of constants alone is a constant too (`folding`).
"""

import numpy as np
import onnx_ir as ir

from roastery.batch_norms import fold_batch_norms
from roastery.caffe2.folding import fold
from roastery.errors import ModelFileError
from roastery.onnx_graph import array_of, constant_value, new_parameter, replace_value


def run_passes(graph: ir.Graph) -> None:
    """All passes, in place."""
    lift_constants(graph)
    fold_constants(graph)
    drop_identities(graph)
    fold_batch_norms(graph)


def lift_constants(graph: ir.Graph) -> None:
    """Turn every Constant node into an initializer."""
    for node in list(graph):
        if node.op_type != "Constant" or node.domain != "":
            continue
        output = node.outputs[0]
        tensor = _constant_tensor(node)
        value = ir.Value(
            name=output.name,
            const_value=tensor,
            shape=ir.Shape(array_of(tensor, output.name).shape),
            type=ir.TensorType(tensor.dtype),
        )
        replace_value(graph, output, value)
        graph.remove(node, safe=True)
        graph.initializers.add(value)


def fold_constants(graph: ir.Graph) -> None:
    """Put what is made of constants alone in the place of what makes it, under the parameter's name."""
    for node in list(graph):
        if len(node.outputs) != 1 or node.outputs[0] in graph.outputs:
            continue
        array = fold(node, [constant_value(value) for value in node.inputs])
        if array is not None:
            replace_value(graph, node.outputs[0], new_parameter(graph, node.inputs[0], array))
            graph.remove(node, safe=True)


def drop_identities(graph: ir.Graph) -> None:
    """Let the users of an Identity (or of a Dropout, at inference) read its input."""
    for node in list(graph):
        if node.op_type not in ("Identity", "Dropout") or node.domain != "":
            continue
        # One between an input or parameter and an output of the graph has to stay: it gives the output its name.
        source = node.inputs[0]
        if source is None or (node.outputs[0] in graph.outputs and source.producer() is None):
            continue
        replace_value(graph, node.outputs[0], source)
        graph.remove(node, safe=True)


def _constant_tensor(node: ir.Node) -> ir.TensorProtocol:
    attributes = node.attributes
    if "value" in attributes:
        return attributes["value"].as_tensor()
    for name, dtype in (
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if name in attributes:
            return ir.Tensor(np.asarray(attributes[name].value, dtype=dtype))
    raise ModelFileError(
        f"constant {node.outputs[0].name!r} holds neither numbers nor a tensor; export the model again"
    )
