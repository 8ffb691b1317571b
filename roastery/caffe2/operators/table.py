"""The table itself: which Caffe2 operator each ONNX node becomes, and what its entries are written with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

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


def entry(*onnx_types: str) -> Callable[[Entry], Entry]:
    """Register what writes nodes of these types, of the standard domain."""

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
        name: attribute(node, name, argument.to_attribute(argument.default))
        for name, argument in defined.arguments.items()
    }
    return NetOperator(node.op_type, names_of(node.inputs), names_of(node.outputs), arguments)


def names_of(values: Any) -> tuple[str, ...]:
    """The blobs of inputs or outputs, without those that are left out."""
    return tuple(value.name for value in values if value is not None and value.name)


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """An attribute's value, a list where it is several."""
    if name not in node.attributes:
        return default
    value = node.attributes[name].value
    return list(value) if isinstance(value, tuple | list | np.ndarray) else value


def axis_of(node: ir.Node, default: int) -> tuple[int, int]:
    """The axis counted from the front, and the rank (of the first input)."""
    value = node.inputs[0]
    if value is None or value.shape is None:
        raise refuse(node, "the rank of its input is not known")
    axis, rank = attribute(node, "axis", default), len(value.shape)
    return axis + rank if axis < 0 else axis, rank


def require(node: ir.Node, name: str, expected: Any, why: str) -> None:
    """Refuse a node whose attribute is another than expected."""
    actual = attribute(node, name, expected)
    if actual != expected:
        raise refuse(node, f"{name}={actual!r}: {why}")


def refuse(node: ir.Node, why: str) -> UnsupportedOperator:
    """The error that says why a node has no Caffe2 form, and the way out."""
    return UnsupportedOperator(
        f"{node.op_type} giving {names_of(node.outputs)[0]!r} has no Caffe2 form ({why}); {_WAY_OUT}"
    )
