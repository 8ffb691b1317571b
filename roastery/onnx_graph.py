"""Parameters and values of an ONNX graph in memory: read, made, put in the place of others."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from roastery.errors import ModelFileError


def constant_value(value: ir.Value | None) -> NDArray[np.generic] | None:
    """The array of an initializer, None for what is computed."""
    if value is None or value.const_value is None:
        return None
    return array_of(value.const_value, value.name)


def array_of(tensor: ir.TensorProtocol, name: str | None) -> NDArray[np.generic]:
    """A tensor's numbers.

    Raises:
        ModelFileError: its sizes do not fit them.
    """
    try:
        array: NDArray[np.generic] = tensor.numpy()
    except (ValueError, TypeError) as error:
        # The checker does not compare the sizes of a constant that is a node's attribute.
        raise ModelFileError(f"the ONNX tensor {name!r} is damaged ({error}); export the model again") from error
    return array


def new_parameter(graph: ir.Graph, old: ir.Value | None, array: NDArray[np.generic]) -> ir.Value:
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


def replace_value(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """Let all users of `old` read `new`; as an output of the graph it keeps `old`'s name."""
    for user, index in list(old.uses()):
        user.replace_input_with(index, new)
    for index, output in enumerate(graph.outputs):
        if output is old:
            name = old.name
            old.name = f"{name}_before_identity"
            new.name = name
            graph.outputs[index] = new
