"""What is looked at in a stranger's ONNX before the checker is: its messages, one by one."""

from collections.abc import Iterator, Sequence

import onnx
from google.protobuf.message import DecodeError, Message

# What the parser, the checker (in C++) and the IR raise for what is no ONNX, or none that makes sense.
ONNX_ERRORS = (
    *(DecodeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError),
    *(RuntimeError, ValueError, IndexError, TypeError),
)


def unreadable(model: onnx.ModelProto) -> Iterator[str]:
    """Why a model is not for the checker, which looks for files, and makes room for whatever is counted."""
    for message in messages(model):
        if isinstance(message, onnx.TensorProto) and _lies_outside(message):
            yield f"{message.name!r} lies outside of the file; embed the weights"
        if isinstance(message, onnx.NodeProto) and _counts_more_outputs(message):
            yield f"a {message.op_type} counts more outputs than it has; export it again"
        if not all(isinstance(text, str) for text in _texts(message)):
            yield "a text in it is not UTF-8; export it again"


def first_line(error: BaseException) -> str:
    """What an error says, as a line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def messages(message: Message) -> Iterator[Message]:
    """The message and all in it, at any depth: graphs, nodes, attributes, functions, tensors."""
    yield message
    # What is in a tensor is numbers, and may be large.
    if isinstance(message, onnx.TensorProto):
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if isinstance(value, Sequence) else [value]:
                yield from messages(inner)


def _lies_outside(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data) > 0


def _counts_more_outputs(node: onnx.NodeProto) -> bool:
    """The checker makes room for as many as a Split says, be it billions."""
    return any(each.name == "num_outputs" and each.i > len(node.output) for each in node.attribute)


def _texts(message: Message) -> Iterator[object]:
    """Every text of the message itself; protobuf gives bytes where it is not UTF-8."""
    if isinstance(message, onnx.TensorProto):
        yield message.name
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            yield from value if not isinstance(value, str | bytes) else [value]
