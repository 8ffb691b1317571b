"""Small passes over the ONNX graph that make it Caffe2's size: constants as initializers, batch norms folded.

What is made of constants alone is a constant too (`folding`).
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from roastery.caffe2.folding import fold
from roastery.errors import ModelFileError


def run_passes(graph: ir.Graph) -> None:
    """All passes, in place."""
    lift_constants(graph)
    fold_constants(graph)
    drop_identities(graph)
    fold_batch_norms(graph)


def constant_value(value: ir.Value | None) -> NDArray[np.generic] | None:
    """The array of an initializer, None for what is computed."""
    if value is None or value.const_value is None:
        return None
    return _array(value.const_value, value.name)


def _array(tensor: ir.TensorProtocol, name: str | None) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = tensor.numpy()
    except (ValueError, TypeError) as error:
        # The checker does not compare the sizes of a constant that is a node's attribute.
        raise ModelFileError(f"the ONNX tensor {name!r} is damaged ({error}); export the model again") from error
    return array


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
            shape=ir.Shape(_array(tensor, output.name).shape),
            type=ir.TensorType(tensor.dtype),
        )
        _replace(graph, output, value)
        graph.remove(node, safe=True)
        graph.initializers.add(value)


def fold_constants(graph: ir.Graph) -> None:
    """Put what is made of constants alone in the place of what makes it, under the parameter's name."""
    for node in list(graph):
        if len(node.outputs) != 1 or node.outputs[0] in graph.outputs:
            continue
        array = fold(node, [constant_value(value) for value in node.inputs])
        if array is not None:
            _replace(graph, node.outputs[0], _new_parameter(graph, node.inputs[0], array))
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
        _replace(graph, node.outputs[0], source)
        graph.remove(node, safe=True)


def fold_batch_norms(graph: ir.Graph) -> None:
    """Fold each BatchNormalization into the convolution that alone feeds it, in float64.

    A convolution that several nodes share (a head over all levels) is folded with the norm of each use.
    """
    folded: dict[tuple[object, ...], tuple[ir.Value, ir.Value]] = {}
    for norm in list(graph):
        if norm.op_type != "BatchNormalization" or norm.domain != "":
            continue
        convolution = norm.inputs[0].producer() if norm.inputs[0] is not None else None
        if convolution is None or convolution.op_type != "Conv" or not _feeds_one(graph, convolution.outputs[0]):
            continue
        weight, *bias = (constant_value(value) for value in convolution.inputs[1:])
        scale, shift, mean, variance = (constant_value(value) for value in norm.inputs[1:])
        if weight is None or scale is None or shift is None or mean is None or variance is None:
            continue
        # As ONNX files hold it: so a model in memory and the same model read from its file give the same net.
        epsilon = float(np.float32(norm.attributes.get_float("epsilon", 1e-5)))
        key = (*convolution.inputs[1:], *norm.inputs[1:], epsilon)
        if key not in folded:
            factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
            before = 0.0 if not bias or bias[0] is None else bias[0].astype(np.float64)
            folded_bias = (before - mean.astype(np.float64)) * factor + shift.astype(np.float64)
            folded_weight = weight.astype(np.float64) * factor.reshape(-1, *[1] * (weight.ndim - 1))
            # The folded weight keeps the convolution's name, its bias takes that of the norm: `conv1.norm.bias`.
            folded[key] = (
                _new_parameter(graph, convolution.inputs[1], folded_weight.astype(np.float32)),
                _new_parameter(graph, norm.inputs[2], folded_bias.astype(np.float32)),
            )
        convolution.resize_inputs(3)
        for index, value in enumerate(folded[key], start=1):
            convolution.replace_input_with(index, value)
        _replace(graph, norm.outputs[0], convolution.outputs[0])
        graph.remove(norm, safe=True)


def _feeds_one(graph: ir.Graph, value: ir.Value) -> bool:
    return len(value.uses()) == 1 and value not in graph.outputs


def _new_parameter(graph: ir.Graph, old: ir.Value | None, array: NDArray[np.generic]) -> ir.Value:
    """A parameter in the place of an old one, under its name where nobody else reads that."""
    assert old is not None
    assert old.name is not None
    name = old.name
    if len(old.uses()) == 1:
        graph.initializers.pop(name)
    while name in graph.initializers:
        name = f"{name}_folded"
    return add_parameter(graph, name, np.asarray(array, order="C"))


def add_parameter(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """A new initializer; there must be none of that name."""
    tensor = ir.Tensor(array, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
    graph.initializers.add(value)
    return value


def _replace(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """Let all users of `old` read `new`; as an output of the graph it keeps `old`'s name."""
    for user, index in list(old.uses()):
        user.replace_input_with(index, new)
    for index, output in enumerate(graph.outputs):
        if output is old:
            name = old.name
            old.name = f"{name}_before_identity"
            new.name = name
            graph.outputs[index] = new


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
