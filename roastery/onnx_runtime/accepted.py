"""What of ONNX a converted model is made of; a stranger's file may hold other things."""

from collections.abc import Iterator

import onnx

from roastery.onnx_messages import messages, unreadable

OPSET = 21


def refused(model: onnx.ModelProto) -> Iterator[str]:
    """Why a file is no converted model: it holds what no lowering makes, or what could lead out of it."""
    yield from unreadable(model)
    if [(each.domain, each.version) for each in model.opset_import] != [("", OPSET)]:
        yield f"it is not of ONNX's own operators of opset {OPSET} alone"
    if model.functions or model.training_info or model.graph.sparse_initializer:
        yield "it holds functions, training or sparse weights, which no converted model does"
    for message in messages(model):
        if isinstance(message, onnx.NodeProto) and message.domain != "":
            yield f"operator {message.op_type!r} is of domain {message.domain!r}, not of ONNX's own"
        if isinstance(message, onnx.AttributeProto) and (message.HasField("g") or message.graphs):
            yield f"attribute {message.name!r} holds a graph, which no converted model does"
