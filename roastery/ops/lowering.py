"""What an operator's lowering to standard ONNX is written with.

A lowering takes a `Lowering`, then the operator's inputs by position (None for one that is left out) and its arguments
by name, which are constants by now. It adds nodes of ONNX's own domain, opset 21, and returns the operator's outputs.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from roastery.errors import UnsupportedOperator

Operand = ir.Value | NDArray[Any] | np.generic | None
"""A value; a constant; or None for an optional input that is left out."""

NOTHING = np.float32(-np.inf)
"""A score that nothing is below."""

ALL = 2**31 - 1
"""How many, where there is no limit."""


def f32(value: float | Sequence[float]) -> NDArray[np.float32]:
    """A constant of float32."""
    return np.asarray(value, np.float32)


def i64(value: int | Sequence[int]) -> NDArray[np.int64]:
    """A constant of int64."""
    return np.asarray(value, np.int64)


class Constants:
    """Initializers of a graph, one for each constant however often it is used."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def __call__(self, array: NDArray[Any]) -> ir.Value:
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._made:
            name = f"constant_{array.dtype.name}_{len(self._made)}"
            tensor = ir.Tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
            value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
            self._graph.register_initializer(value)
            self._made[key] = value
        return self._made[key]


class Lowering:
    """The nodes that take the place of one operator."""

    def __init__(self, name: str, constants: Constants) -> None:
        """Begin with none.

        Args:
            name: of the operator in its graph; those of nodes and values begin with it.
        """
        self.name = name
        self.nodes: list[ir.Node] = []
        self._constants = constants

    def __call__(self, op_type: str, *operands: Operand, **attributes: Any) -> ir.Value:
        """Add a node of one output."""
        return self.several(op_type, 1, *operands, **attributes)[0]

    def several(self, op_type: str, count: int, *operands: Operand, **attributes: Any) -> Sequence[ir.Value]:
        """Add a node of `count` outputs."""
        name = f"{self.name}/{op_type}_{len(self.nodes)}"
        node = ir.node(
            op_type, [self._value(operand) for operand in operands], attributes, num_outputs=count, name=name
        )
        for number, output in enumerate(node.outputs):
            output.name = name if count == 1 else f"{name}:{number}"
        self.nodes.append(node)
        return node.outputs

    def constant(self, array: NDArray[Any] | np.generic) -> ir.Value:
        """A constant as a value."""
        return self._constants(np.asarray(array))

    def _value(self, operand: Operand) -> ir.Value | None:
        return operand if isinstance(operand, ir.Value) or operand is None else self.constant(operand)

    # What several lowerings write.

    def cut(self, x: ir.Value, start: Operand, stop: Operand, axis: int) -> ir.Value:
        """x[start:stop] along an axis; both are (1,) int64."""
        return self("Slice", x, start, stop, i64([axis]))

    def columns(self, x: ir.Value, start: int, stop: int) -> ir.Value:
        """x[:, start:stop]."""
        return self.cut(x, i64([start]), i64([stop]), 1)

    def size(self, x: ir.Value, axis: int) -> ir.Value:
        """(1,) int64."""
        return self("Shape", x, start=axis, end=axis + 1) if axis != -1 else self("Shape", x, start=-1)

    def cast(self, x: ir.Value, kind: ir.DataType) -> ir.Value:
        """x in another type."""
        return self("Cast", x, to=kind)

    def flat(self, x: ir.Value) -> ir.Value:
        """x as a vector."""
        return self("Reshape", x, i64([-1]))

    def concat(self, parts: Sequence[ir.Value], axis: int = 0) -> ir.Value:
        """The parts one after another; a single one is itself."""
        return parts[0] if len(parts) == 1 else self("Concat", *parts, axis=axis)

    def best(self, scores: ir.Value, most: int) -> tuple[ir.Value, ir.Value]:
        """The `most` highest of (n,) scores and their places, highest first, equal ones by rising place."""
        count = self("Min", self.size(scores, 0), i64([most]))
        values, places = self.several("TopK", 2, scores, count, axis=0)
        return values, places

    def each_image(self, x: ir.Value, count: int) -> Iterator[ir.Value]:
        """(count, ...) as so many of (1, ...)."""
        for image in range(count):
            yield x if count == 1 else self.cut(x, i64([image]), i64([image + 1]), 0)


def known_size(operator: str, name: str, value: ir.Value, axis: int) -> int:
    """The size of an axis, which must be the same for every image.

    Raises:
        UnsupportedOperator: it is not known.
    """
    size = value.shape[axis] if value.shape is not None and len(value.shape) > axis else None
    if not isinstance(size, int):
        raise UnsupportedOperator(
            f"{operator}: in standard ONNX axis {axis} of {name} must have a constant size; export the model again"
        )
    return size


def refuse(operator: str, what: str) -> UnsupportedOperator:
    """The error for what has no standard form here."""
    return UnsupportedOperator(f"{operator}: {what} has no form in standard ONNX here; convert for another runtime")
