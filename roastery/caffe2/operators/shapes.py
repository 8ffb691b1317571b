"""What moves numbers and makes none: Reshape, Flatten, Concat, Transpose, Gather, Slice."""

import onnx_ir as ir

from roastery.caffe2.operators.table import ArgumentValue, NetOperator, attribute, axis_of, entry, names_of, refuse
from roastery.caffe2.passes import constant_value


@entry("Reshape")
def _reshape(node: ir.Node) -> NetOperator:
    shape = constant_value(node.inputs[1])
    if shape is None:
        raise refuse(node, "its shape is computed; only constants can be a Reshape's")
    if attribute(node, "allowzero", 0) and 0 in shape:
        raise refuse(node, "a size of 0 means 'as before' in Caffe2")
    output = names_of(node.outputs)[0]
    return NetOperator("Reshape", names_of(node.inputs[:1]), (output, f"{output}_old_shape"), {"shape": shape.tolist()})


@entry("Flatten")
def _flatten(node: ir.Node) -> NetOperator:
    return NetOperator("Flatten", names_of(node.inputs), names_of(node.outputs), {"axis": attribute(node, "axis", 1)})


@entry("Concat")
def _concat(node: ir.Node) -> NetOperator:
    axis, _ = axis_of(node, 0)
    output = names_of(node.outputs)[0]
    return NetOperator("Concat", names_of(node.inputs), (output, f"{output}_split_info"), {"axis": axis})


@entry("Transpose")
def _transpose(node: ir.Node) -> NetOperator:
    _, rank = axis_of(node, 0)
    axes = attribute(node, "perm", list(range(rank))[::-1])
    return NetOperator("Transpose", names_of(node.inputs), names_of(node.outputs), {"axes": axes})


@entry("Gather")
def _gather(node: ir.Node) -> NetOperator:
    axis, _ = axis_of(node, 0)
    # ONNX counts negative places from behind; Caffe2 does along axis 0 alone, unless it is told to.
    return NetOperator("Gather", names_of(node.inputs), names_of(node.outputs), {"axis": axis, "wrap_indices": 1})


_FAR = 2**31 - 1


@entry("Slice")
def _slice(node: ir.Node) -> NetOperator:
    starts, ends, axes, steps = (constant_value(node.inputs[i]) if len(node.inputs) > i else None for i in range(1, 5))
    if starts is None or ends is None or axes is None or len(axes) != 1 or (steps is not None and steps[0] != 1):
        raise refuse(node, "only a part of one axis between constants becomes a Slice")
    _, rank = axis_of(node, 0)
    before, start, end = int(axes[0]) % rank, int(starts[0]), int(ends[0])
    size = node.inputs[0].shape[before]  # type: ignore[union-attr, index]
    if isinstance(size, int):
        # Caffe2 refuses what lies before the first place, and an end before the start; in ONNX there is nothing then.
        start, end, _ = slice(start, end).indices(size)
        end = max(start, end)
    arguments: dict[str, ArgumentValue] = {
        "starts": [0] * before + [_place(start)],
        "ends": [-1] * before + [_place(end)],
    }
    return NetOperator("Slice", names_of(node.inputs[:1]), names_of(node.outputs), arguments)


def _place(place: int) -> int:
    """ONNX's -1 is the last element, Caffe2's is behind it; and the end may be any large number in ONNX."""
    return place - 1 if place < 0 else -1 if place >= _FAR else place
