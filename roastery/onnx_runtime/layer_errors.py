"""How far each rounded layer's values are from the float model's, on the sampled images.

Both models run as one graph that gives two sums of squares for each layer, so that no map leaves it. Detection
operators run once, on float values: with boxes of their own the two models' heads would look at different places, and
their values could not be compared. A head's error so begins at its pooled maps.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper

from roastery.onnx_runtime.rounded_layers import LAYERS, module_of, of_a_module
from roastery.onnx_runtime.scratch import in_place, scratch_runtime
from roastery.results import LayerError

_ROUNDED = "rounded/"
_BEFORE = "_QuantizeLinear_Input"
_DIFFERENCE, _VALUES = "squares/difference/", "squares/values/"


def layer_errors(
    model: onnx.ModelProto, rounded: onnx.ModelProto, sample: Iterable[Mapping[str, NDArray[Any]]]
) -> list[LayerError]:
    """Of every layer whose output is rounded, the worst first.

    Args:
        model: in float32.
        rounded: made of it by ONNX Runtime's quantizer: the values that it rounds have the same names.

    Returns:
        Of a module that is used several times, as a head on every level, one figure for all.

    Raises:
        RuntimeFailed, OperatorError: ONNX Runtime refused an image.
    """
    makers = {name: node for node in rounded.graph.node for name in node.output}
    roundings = [node for node in rounded.graph.node if node.op_type == "QuantizeLinear" and node.input[0] in makers]
    # What is an output of the model too has another name before it is rounded.
    layers = {
        node.input[0].removesuffix(_BEFORE): (module_of(makers[node.input[0]]), makers[node.input[0]].op_type)
        for node in roundings
        if of_a_module(makers[node.input[0]]) and makers[node.input[0]].op_type in LAYERS
    }
    difference: dict[tuple[str, str], float] = defaultdict(float)
    total: dict[tuple[str, str], float] = defaultdict(float)
    with scratch_runtime(_side_by_side(model, rounded, list(layers))) as runtime:
        for inputs in sample:
            found = runtime.run(inputs)
            for name, layer in layers.items():
                difference[layer] += float(found[_DIFFERENCE + name])
                total[layer] += float(found[_VALUES + name])
    errors = [
        LayerError(layer=module, operator=operator, error=(difference[module, operator] / squares) ** 0.5)
        for (module, operator), squares in total.items()
        if squares > 0
    ]
    return sorted(errors, key=lambda each: (-each.error, each.layer, each.operator))


def _side_by_side(model: onnx.ModelProto, rounded: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The float model and, behind its detection operators, the rounded layers."""
    added, dequantized = _rounded_branch(rounded)
    for name in names:
        apart = f"difference/{name}"
        added.append(helper.make_node("Sub", [dequantized[name], name], [apart]))
        for prefix, of in ((_DIFFERENCE, apart), (_VALUES, name)):
            added.append(helper.make_node("ReduceSumSquare", [of], [prefix + name], keepdims=0))
    merged = in_place(model, added)
    held = {tensor.name for tensor in merged.graph.initializer}
    merged.graph.initializer.extend(tensor for tensor in rounded.graph.initializer if tensor.name not in held)
    for prefix in (_DIFFERENCE, _VALUES):
        for name in names:
            merged.graph.output.append(helper.make_tensor_value_info(prefix + name, onnx.TensorProto.FLOAT, []))
    return merged


def _rounded_branch(rounded: onnx.ModelProto) -> tuple[list[onnx.NodeProto], dict[str, str]]:
    """What rounds, and what comes of it up to the next detection operator; and the rounded form of each value."""
    branch, own = [], set[str]()
    rounding: dict[str, str] = {}
    dequantized: dict[str, str] = {}
    for node in rounded.graph.node:
        rounds = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if not rounds and (not of_a_module(node) or not own & set(node.input)):
            continue
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = _ROUNDED + node.name
        copy.input[:] = [_ROUNDED + name if name in own else name for name in node.input]
        copy.output[:] = [_ROUNDED + name for name in node.output]
        branch.append(copy)
        own.update(node.output)
        if node.op_type == "QuantizeLinear":
            rounding[node.output[0]] = node.input[0].removesuffix(_BEFORE)
        elif node.input[0] in rounding:
            dequantized.setdefault(rounding[node.input[0]], copy.output[0])
    return branch, dequantized
