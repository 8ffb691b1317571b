"""What moves numbers and makes none: Reshape, Concat, Split, Slice, Gather, Transpose, Tile and their like."""

import onnx_ir as ir

from roastery.caffe2.operators.table import ArgumentValue, NetOperator, attribute, axis_of, entry, names_of, refuse
from roastery.onnx_graph import constant_value


@entry("Reshape")
def _reshape(node: ir.Node) -> NetOperator:
    shape, output = constant_value(node.inputs[1]), names_of(node.outputs)[0]
    if attribute(node, "allowzero", 0) and (shape is None or 0 in shape):
        raise refuse(node, "a size of 0 means 'as before' in Caffe2")
    if shape is None:
        return NetOperator("Reshape", names_of(node.inputs), (output, f"{output}_old_shape"))
    return NetOperator("Reshape", names_of(node.inputs[:1]), (output, f"{output}_old_shape"), {"shape": shape.tolist()})


@entry("Flatten")
def _flatten(node: ir.Node) -> NetOperator:
    return NetOperator("Flatten", names_of(node.inputs), names_of(node.outputs), {"axis": attribute(node, "axis", 1)})


@entry("Concat")
def _concat(node: ir.Node) -> NetOperator:
    axis, output = attribute(node, "axis", 0), names_of(node.outputs)[0]
    # What is made on the way from an operator of PyTorch to several has no rank that is known.
    if axis < 0:
        axis, _ = axis_of(node, 0)
    return NetOperator("Concat", names_of(node.inputs), (output, f"{output}_split_info"), {"axis": axis})


@entry("Split")
def _split(node: ir.Node) -> NetOperator:
    (axis, _), count = axis_of(node, 0), len(node.outputs)
    arguments: dict[str, ArgumentValue] = {"axis": axis}
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        sizes = constant_value(node.inputs[1])
        if sizes is None or sizes.shape != (count,):
            raise refuse(node, "the sizes of its parts are no constants")
        arguments["split"] = sizes.tolist()
    else:
        size = node.inputs[0].shape[axis]  # type: ignore[union-attr, index]
        # Of another axis the parts are equal, or Caffe2 refuses to run it.
        if isinstance(size, int):
            most = -(-size // count)
            arguments["split"] = [max(0, min(most, size - part * most)) for part in range(count)]
    return NetOperator("Split", names_of(node.inputs[:1]), names_of(node.outputs), arguments)


@entry("Unsqueeze")
def _unsqueeze(node: ir.Node) -> NetOperator:
    axes = constant_value(node.inputs[1])
    if axes is None or axes.ndim != 1:
        raise refuse(node, "its axes are no constants")
    rank = 0 if min(axes.tolist(), default=0) >= 0 else axis_of(node, 0)[1] + len(axes)
    dims = sorted(int(axis) + (rank if axis < 0 else 0) for axis in axes)
    return NetOperator("ExpandDims", names_of(node.inputs[:1]), names_of(node.outputs), {"dims": dims})


@entry("Squeeze")
def _squeeze(node: ir.Node) -> NetOperator:
    axes = constant_value(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or axes.ndim != 1:
        raise refuse(node, "its axes are no constants")
    rank = 0 if min(axes.tolist(), default=0) >= 0 else axis_of(node, 0)[1]
    dims = sorted(int(axis) + (rank if axis < 0 else 0) for axis in axes)
    return NetOperator("Squeeze", names_of(node.inputs[:1]), names_of(node.outputs), {"dims": dims})


@entry("Shape")
def _shape(node: ir.Node) -> NetOperator:
    _, rank = axis_of(node, 0)
    axes = list(range(rank))[attribute(node, "start", 0) : attribute(node, "end", rank)]
    if not axes:
        raise refuse(node, "the sizes of no axes")
    return NetOperator("Shape", names_of(node.inputs), names_of(node.outputs), {"axes": axes})


@entry("Expand")
def _expand(node: ir.Node) -> NetOperator:
    return NetOperator("Expand", names_of(node.inputs), names_of(node.outputs))


@entry("Tile")
def _tile(node: ir.Node) -> NetOperator:
    repeats = constant_value(node.inputs[1])
    several = [] if repeats is None else [axis for axis, times in enumerate(repeats.ravel()) if times != 1]
    if repeats is None or repeats.ndim != 1 or len(several) > 1 or min(repeats.tolist(), default=0) < 1:
        raise refuse(node, "only one axis repeated a constant number of times becomes a Tile")
    axis = several[0] if several else 0
    arguments: dict[str, ArgumentValue] = {"tiles": int(repeats[axis]), "axis": axis}
    return NetOperator("Tile", names_of(node.inputs[:1]), names_of(node.outputs), arguments)


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
