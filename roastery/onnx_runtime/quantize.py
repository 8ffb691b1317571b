"""A model of standard ONNX in 8 bits: ONNX Runtime's own static quantizer, with the sampled images for its ranges."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from roastery.batch_norms import fold_batch_norms
from roastery.onnx_runtime.files import StandardModel, checked_model
from roastery.onnx_runtime.layer_errors import layer_errors
from roastery.onnx_runtime.ranges import Range, ranges
from roastery.onnx_runtime.rounded_layers import CARRIERS, LAYERS, module_of, rounded_nodes
from roastery.results import LayerError

WORST = 20
COMPARED = 2
"""Images on which layers are compared."""

# By which the quantizer knows that shapes are inferred; without it it would infer them by way of a file.
_INFERRED = ("onnx.infer", "onnxruntime.quant")


@dataclass(frozen=True)
class Quantized:
    """What quantizing gave.

    Attributes:
        layers: the worst layers first.
        warnings: what stayed float without being asked to.
    """

    model: StandardModel
    layers: Sequence[LayerError]
    warnings: Sequence[str]


def quantize(
    model: ir.Model, sample: Iterable[Mapping[str, NDArray[Any]]], float_layers: Sequence[str] = ()
) -> Quantized:
    """Weights as int8, one scale a channel; maps as uint8, one scale each; detection operators in float32.

    Weights take 7 of their 8 bits: without VNNI, AVX2 adds the products of two pairs in 16 bits, which 8 would
    overflow; so the file gives the same everywhere.

    Args:
        model: as `lower.standard_onnx` gives it. It is used up.
        sample: the images, read twice: all for the ranges, the first few for the errors.
        float_layers: see `rounded_layers`.

    Raises:
        ConfigError: a name in `float_layers` that no layer has.
        RuntimeFailed, OperatorError: ONNX Runtime refused an image.
    """
    # So that the two are rounded as one layer.
    fold_batch_norms(model.graph)
    RemoveUnusedNodesPass()(model)
    standard = onnx.shape_inference.infer_shapes(ir.to_proto(model), data_prop=True)
    wanted = rounded_nodes(standard.graph, float_layers)
    names = _values(standard.graph, wanted)
    found = ranges(standard, names, sample) if names else {}
    unseen = [name for name in names if name not in found]
    nodes = rounded_nodes(standard.graph, float_layers, unseen)
    # The quantizer takes no nodes for all nodes.
    rounded = _rounded(standard, nodes, found) if nodes else standard
    errors = layer_errors(standard, rounded, islice(sample, COMPARED)) if nodes else []
    content = rounded.SerializeToString(deterministic=True)
    return Quantized(
        checked_model("the quantized model", content), errors[:WORST], _warnings(standard, set(wanted) - set(nodes))
    )


def _values(graph: onnx.GraphProto, nodes: Sequence[str]) -> list[str]:
    """What goes into nodes and comes out of them, but for constants."""
    constants, chosen = {tensor.name for tensor in graph.initializer}, set(nodes)
    constants |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    values = (name for node in graph.node if node.name in chosen for name in (*node.input, *node.output))
    return list(dict.fromkeys(name for name in values if name and name not in constants))


def _rounded(model: onnx.ModelProto, nodes: Sequence[str], found: Mapping[str, Range]) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import TensorData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    given = onnx.ModelProto()
    given.CopyFrom(model)
    given.metadata_props.add(key=_INFERRED[0], value=_INFERRED[1])
    levels = {
        name: TensorData(lowest=np.float32(each.least), highest=np.float32(each.most)) for name, each in found.items()
    }
    quantizer = QDQQuantizer(
        given,
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=levels,
        nodes_to_quantize=list(nodes),
        nodes_to_exclude=[],
        op_types_to_quantize=[*LAYERS, *CARRIERS],
        extra_options={},
    )
    rounded = ir.from_proto(quantizer.quantize_model())
    _leave_unrounded(rounded.graph, set(nodes))
    # It appends what it adds.
    rounded.graph.sort()
    rounded.metadata_props.pop(_INFERRED[0])
    rounded.producer_name, rounded.producer_version = model.producer_name, model.producer_version
    proto: onnx.ModelProto = ir.to_proto(rounded)
    return proto


def _leave_unrounded(graph: ir.Graph, nodes: Collection[str]) -> None:
    """Give float nodes what float nodes made, which the quantizer rounds for all that read it where one does.

    So the sum that a residual network adds to block by block is not rounded with each block, only what a block's layers
    take of it.
    """
    for dequantize in list(graph):
        if dequantize.op_type != "DequantizeLinear" or dequantize.inputs[0] is None:
            continue
        quantize = dequantize.inputs[0].producer()
        value = quantize.inputs[0] if quantize is not None else None
        maker = value.producer() if value is not None else None
        if value is None or (maker is not None and maker.name in nodes):
            continue
        for reader, index in list(dequantize.outputs[0].uses()):
            if reader.name not in nodes:
                reader.replace_input_with(index, value)


def _warnings(model: onnx.ModelProto, lost: Collection[str]) -> list[str]:
    """One for all nodes that are not rounded because the sample had nothing for them."""
    modules = dict.fromkeys(
        module_of(node) for node in model.graph.node if node.name in lost and node.op_type in LAYERS
    )
    if not modules:
        return []
    return [
        f"nothing came to {', '.join(modules)} on the sampled images, so that they stay float32; sample images in "
        "which the model finds something"
    ]
