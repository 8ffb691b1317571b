"""The NetDef operator table: which Caffe2 operator each ONNX node becomes, one entry an operator.

What has no entry has no Caffe2 form: `look_up` refuses it. Nothing is passed through by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from roastery.caffe2.passes import constant_value
from roastery.errors import UnsupportedOperator
from roastery.ops.definition import ONNX_DOMAIN, Operator, operators

ArgumentValue = int | float | str | list[int] | list[float]


@dataclass(frozen=True)
class NetOperator:
    """A Caffe2 operator before it is written: blobs by name, arguments by name."""

    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: Mapping[str, ArgumentValue] = field(default_factory=dict)


Entry = Callable[[ir.Node], NetOperator]

_TABLE: dict[str, Entry] = {}
# ONNX's numbers of data types to Caffe2's: float32, int32, int64, bool.
_DATA_TYPES = {1: 1, 6: 2, 7: 10, 9: 5}
_FAR = 2**31 - 1
_WAY_OUT = "rewrite the module with operators that Caffe2 has (docs/operators.md lists them)"


def look_up(node: ir.Node) -> Entry:
    """The entry for a node.

    Raises:
        UnsupportedOperator: the operator has no Caffe2 form.
    """
    if node.domain == ONNX_DOMAIN and node.op_type in operators():
        return _detection
    if node.domain == "" and node.op_type in _TABLE:
        return _TABLE[node.op_type]
    name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    raise UnsupportedOperator(f"operator {name} has no Caffe2 form; {_WAY_OUT}")


def table() -> Mapping[str, Entry]:
    """Every ONNX operator (of the standard domain) that has an entry."""
    return _TABLE


def _entry(*onnx_types: str) -> Callable[[Entry], Entry]:
    def register(entry: Entry) -> Entry:
        for onnx_type in onnx_types:
            if onnx_type in _TABLE:
                raise ValueError(f"{onnx_type} has two entries")
            _TABLE[onnx_type] = entry
        return entry

    return register


def _detection(node: ir.Node) -> NetOperator:
    defined: Operator = operators()[node.op_type]
    arguments = {
        name: _attribute(node, name, argument.to_attribute(argument.default))
        for name, argument in defined.arguments.items()
    }
    return NetOperator(node.op_type, _names(node.inputs), _names(node.outputs), arguments)


@_entry("Relu", "Sigmoid", "Exp")
def _activation(node: ir.Node) -> NetOperator:
    return NetOperator(node.op_type, _names(node.inputs), _names(node.outputs))


@_entry("Add", "Sub", "Mul", "Div")
def _arithmetic(node: ir.Node) -> NetOperator:
    return NetOperator(node.op_type, _names(node.inputs), _names(node.outputs))


@_entry("Conv")
def _convolution(node: ir.Node) -> NetOperator:
    _require(node, "auto_pad", "NOTSET", "padding must be written out")
    kernels = _kernel(node)
    return NetOperator(
        "Conv",
        _names(node.inputs),
        _names(node.outputs),
        {
            "kernels": kernels,
            "strides": _attribute(node, "strides", [1] * len(kernels)),
            "pads": _attribute(node, "pads", [0] * 2 * len(kernels)),
            "dilations": _attribute(node, "dilations", [1] * len(kernels)),
            "group": _attribute(node, "group", 1),
        },
    )


@_entry("ConvTranspose")
def _transposed_convolution(node: ir.Node) -> NetOperator:
    _require(node, "auto_pad", "NOTSET", "padding must be written out")
    kernels = _kernel(node)
    _require(node, "dilations", [1] * len(kernels), "Caffe2's ConvTranspose has no dilation")
    arguments: dict[str, ArgumentValue] = {
        "kernels": kernels,
        "strides": _attribute(node, "strides", [1] * len(kernels)),
        "pads": _attribute(node, "pads", [0] * 2 * len(kernels)),
        "group": _attribute(node, "group", 1),
    }
    adjustment = _attribute(node, "output_padding", [0] * len(kernels))
    if any(adjustment):
        arguments["adjs"] = adjustment
    return NetOperator("ConvTranspose", _names(node.inputs), _names(node.outputs), arguments)


@_entry("MaxPool")
def _max_pool(node: ir.Node) -> NetOperator:
    _require(node, "auto_pad", "NOTSET", "padding must be written out")
    _require(node, "ceil_mode", 0, "Caffe2 rounds the size down")
    kernels = _attribute(node, "kernel_shape", [])
    _require(node, "dilations", [1] * len(kernels), "Caffe2's MaxPool has no dilation")
    arguments = {
        "kernels": kernels,
        "strides": _attribute(node, "strides", [1] * len(kernels)),
        "pads": _attribute(node, "pads", [0] * 2 * len(kernels)),
    }
    return NetOperator("MaxPool", _names(node.inputs), _names(node.outputs)[:1], arguments)


@_entry("ReduceMean")
def _reduce_mean(node: ir.Node) -> NetOperator:
    axes = constant_value(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or not axes.size:
        raise _refuse(node, "its axes are no constants")
    _, rank = _axis(node, 0)
    arguments: dict[str, ArgumentValue] = {
        "axes": [int(axis) % rank for axis in axes],
        "keepdims": _attribute(node, "keepdims", 1),
    }
    return NetOperator("ReduceMean", _names(node.inputs[:1]), _names(node.outputs), arguments)


@_entry("Gemm")
def _fully_connected(node: ir.Node) -> NetOperator:
    _require(node, "transA", 0, "only x W' + b is an FC")
    _require(node, "transB", 1, "only x W' + b is an FC")
    _require(node, "alpha", 1.0, "only x W' + b is an FC")
    _require(node, "beta", 1.0, "only x W' + b is an FC")
    if len(node.inputs) != 3:
        raise _refuse(node, "an FC needs a bias")
    return NetOperator("FC", _names(node.inputs), _names(node.outputs))


@_entry("GroupNormalization")
def _group_norm(node: ir.Node) -> NetOperator:
    epsilon = _attribute(node, "epsilon", 1e-5)
    arguments: dict[str, ArgumentValue] = {
        "group": _attribute(node, "num_groups", 1),
        "epsilon": epsilon,
        # Caffe2 reads `epsilon`; the original's nets say `eps`, and programs may look for it.
        "eps": epsilon,
        "order": "NCHW",
    }
    return NetOperator("GroupNorm", _names(node.inputs), _names(node.outputs), arguments)


@_entry("Reshape")
def _reshape(node: ir.Node) -> NetOperator:
    shape = constant_value(node.inputs[1])
    if shape is None:
        raise _refuse(node, "its shape is computed; only constants can be a Reshape's")
    if _attribute(node, "allowzero", 0) and 0 in shape:
        raise _refuse(node, "a size of 0 means 'as before' in Caffe2")
    output = _names(node.outputs)[0]
    return NetOperator("Reshape", _names(node.inputs[:1]), (output, f"{output}_old_shape"), {"shape": shape.tolist()})


@_entry("Flatten")
def _flatten(node: ir.Node) -> NetOperator:
    return NetOperator("Flatten", _names(node.inputs), _names(node.outputs), {"axis": _attribute(node, "axis", 1)})


@_entry("Softmax")
def _softmax(node: ir.Node) -> NetOperator:
    axis, rank = _axis(node, -1)
    # Caffe2 flattens everything from the axis on, which is ONNX's softmax for the last axis only.
    if axis != rank - 1:
        raise _refuse(node, f"softmax over axis {axis} of {rank}; Caffe2 has it over the last only")
    return NetOperator("Softmax", _names(node.inputs), _names(node.outputs), {"axis": axis})


@_entry("Concat")
def _concat(node: ir.Node) -> NetOperator:
    axis, _ = _axis(node, 0)
    output = _names(node.outputs)[0]
    return NetOperator("Concat", _names(node.inputs), (output, f"{output}_split_info"), {"axis": axis})


@_entry("Resize")
def _resize_nearest(node: ir.Node) -> NetOperator:
    if _attribute(node, "mode", "nearest") == "linear":
        # Those that it has a form for have been replaced (`bilinear`).
        raise _refuse(node, "bilinear scaling is exact by constant whole factors alone, and with align_corners=False")
    _require(node, "mode", "nearest", "Caffe2 scales by the nearest pixel, or bilinearly")
    _require(node, "coordinate_transformation_mode", "asymmetric", "Caffe2 has nearest scaling from the corner")
    _require(node, "nearest_mode", "floor", "Caffe2 rounds down")
    scales = constant_value(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is None or scales.shape != (4,) or scales[0] != 1 or scales[1] != 1:
        raise _refuse(node, "only height and width scaled by constants become a ResizeNearest")
    arguments: dict[str, ArgumentValue] = {
        "order": "NCHW",
        "width_scale": float(scales[3]),
        "height_scale": float(scales[2]),
    }
    return NetOperator("ResizeNearest", _names(node.inputs[:1]), _names(node.outputs), arguments)


@_entry("Clip")
def _clip(node: ir.Node) -> NetOperator:
    bounds = {name: value for name, value in zip(("min", "max"), node.inputs[1:], strict=False) if value is not None}
    arguments: dict[str, ArgumentValue] = {}
    for name, value in bounds.items():
        bound = constant_value(value)
        if bound is None or bound.size != 1 or bound.dtype != np.float32:
            raise _refuse(node, f"its {name} is no constant float32")
        arguments[name] = float(bound.item())
    return NetOperator("Clip", _names(node.inputs[:1]), _names(node.outputs), arguments)


@_entry("Pad")
def _pad(node: ir.Node) -> NetOperator:
    _require(node, "mode", "edge", "only the border repeated is padded with here")
    pads = constant_value(node.inputs[1])
    if len(node.inputs) > 3 or pads is None or pads.shape != (8,) or pads[[0, 1, 4, 5]].any() or min(pads.tolist()) < 0:
        raise _refuse(node, "only height and width padded by constants become a PadImage")
    top, left, bottom, right = (int(size) for size in pads[[2, 3, 6, 7]])
    arguments: dict[str, ArgumentValue] = {"mode": "edge", "pads": [top, left, bottom, right], "order": "NCHW"}
    return NetOperator("PadImage", _names(node.inputs[:1]), _names(node.outputs), arguments)


@_entry("Transpose")
def _transpose(node: ir.Node) -> NetOperator:
    _, rank = _axis(node, 0)
    axes = _attribute(node, "perm", list(range(rank))[::-1])
    return NetOperator("Transpose", _names(node.inputs), _names(node.outputs), {"axes": axes})


@_entry("Cast")
def _cast(node: ir.Node) -> NetOperator:
    to = _attribute(node, "to", 0)
    if to not in _DATA_TYPES:
        raise _refuse(node, f"a cast to ONNX's data type {to}")
    return NetOperator("Cast", _names(node.inputs), _names(node.outputs), {"to": _DATA_TYPES[to]})


@_entry("Gather")
def _gather(node: ir.Node) -> NetOperator:
    axis, _ = _axis(node, 0)
    # ONNX counts negative places from behind; Caffe2 does along axis 0 alone, unless it is told to.
    return NetOperator("Gather", _names(node.inputs), _names(node.outputs), {"axis": axis, "wrap_indices": 1})


@_entry("Slice")
def _slice(node: ir.Node) -> NetOperator:
    starts, ends, axes, steps = (constant_value(node.inputs[i]) if len(node.inputs) > i else None for i in range(1, 5))
    if starts is None or ends is None or axes is None or len(axes) != 1 or (steps is not None and steps[0] != 1):
        raise _refuse(node, "only a part of one axis between constants becomes a Slice")
    _, rank = _axis(node, 0)
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
    return NetOperator("Slice", _names(node.inputs[:1]), _names(node.outputs), arguments)


def _place(place: int) -> int:
    """ONNX's -1 is the last element, Caffe2's is behind it; and the end may be any large number in ONNX."""
    return place - 1 if place < 0 else -1 if place >= _FAR else place


def _names(values: Any) -> tuple[str, ...]:
    return tuple(value.name for value in values if value is not None and value.name)


def _attribute(node: ir.Node, name: str, default: Any) -> Any:
    if name not in node.attributes:
        return default
    value = node.attributes[name].value
    return list(value) if isinstance(value, tuple | list | np.ndarray) else value


def _kernel(node: ir.Node) -> list[int]:
    weight = node.inputs[1]
    sizes = list(weight.shape)[2:] if weight is not None and weight.shape is not None else []
    kernel: list[int] = _attribute(node, "kernel_shape", [size for size in sizes if isinstance(size, int)])
    return kernel


def _axis(node: ir.Node, default: int) -> tuple[int, int]:
    """The axis counted from the front, and the rank (of the first input)."""
    value = node.inputs[0]
    if value is None or value.shape is None:
        raise _refuse(node, "the rank of its input is not known")
    axis, rank = _attribute(node, "axis", default), len(value.shape)
    return axis + rank if axis < 0 else axis, rank


def _require(node: ir.Node, name: str, expected: Any, why: str) -> None:
    actual = _attribute(node, name, expected)
    if actual != expected:
        raise _refuse(node, f"{name}={actual!r}: {why}")


def _refuse(node: ir.Node, why: str) -> UnsupportedOperator:
    return UnsupportedOperator(
        f"{node.op_type} giving {_names(node.outputs)[0]!r} has no Caffe2 form ({why}); {_WAY_OUT}"
    )
