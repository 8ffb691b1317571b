"""A model that is made for a measurement and goes into no file."""

from collections.abc import Iterable

import onnx

from roastery.onnx_runtime.files import StandardModel
from roastery.onnx_runtime.runtime import OnnxRuntime


def scratch_runtime(model: onnx.ModelProto) -> OnnxRuntime:
    """A session of a model that this process has made itself, of one that was checked.

    Raises:
        OnnxRuntimeUnavailable: the package is not installed.
        ModelFileError: ONNX Runtime refuses the model.
    """
    parameters = {tensor.name for tensor in model.graph.initializer}
    return OnnxRuntime(
        StandardModel(
            model.SerializeToString(),
            {},
            tuple(value.name for value in model.graph.input if value.name not in parameters),
            tuple(value.name for value in model.graph.output),
        ),
        in_order=True,
    )


def in_place(model: onnx.ModelProto, added: Iterable[onnx.NodeProto]) -> onnx.ModelProto:
    """The model with more nodes and without its outputs, each node as early as it can be, so that maps are freed soon.

    Args:
        added: nodes that read the model's values and those of the nodes before them in `added`.
    """
    merged = onnx.ModelProto()
    merged.CopyFrom(model)
    places = {name: place for place, node in enumerate(model.graph.node) for name in node.output}
    behind: dict[int, list[onnx.NodeProto]] = {}
    for node in added:
        place = max((places.get(name, -1) for name in node.input), default=-1)
        places.update(dict.fromkeys(node.output, place))
        behind.setdefault(place, []).append(node)
    del merged.graph.node[:], merged.graph.output[:]
    merged.graph.node.extend(behind.get(-1, []))
    for place, node in enumerate(model.graph.node):
        merged.graph.node.extend([node, *behind.get(place, [])])
    return merged
