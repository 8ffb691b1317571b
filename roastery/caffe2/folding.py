"""What ONNX nodes make of constants alone: numbers cast to float32, weights turned, reshaped or with more axes."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[np.generic]
# Caffe2 has operators for no more.
_MOST_AXES = 8


def fold(node: ir.Node, inputs: Sequence[Array | None]) -> Array | None:
    """What the node gives, with no more numbers in it than there were.

    Args:
        inputs: the arrays of its inputs, None for what is computed.

    Returns:
        None where something is computed, or where the node is not one that is folded: Caffe2 may refuse it then.
    """
    if node.domain != "" or node.op_type not in _FOLDS or not inputs or inputs[0] is None:
        return None
    return _FOLDS[node.op_type](node, inputs[0], inputs[1] if len(inputs) > 1 else None)


def _cast(node: ir.Node, array: Array, _: Array | None) -> Array | None:
    to = node.inputs[1].dtype if node.op_type == "CastLike" and node.inputs[1] is not None else None
    if node.op_type == "Cast":
        to = ir.DataType(node.attributes.get_int("to", 0))
    return array.astype(np.float32) if to == ir.DataType.FLOAT and array.dtype.kind in "bif" else None


def _transpose(node: ir.Node, array: Array, _: Array | None) -> Array | None:
    order = list(node.attributes.get_ints("perm", range(array.ndim)[::-1]))
    return array.transpose(order) if sorted(order) == list(range(array.ndim)) else None


def _reshape(node: ir.Node, array: Array, sizes: Array | None) -> Array | None:
    shape = [] if sizes is None else [int(size) for size in sizes.ravel()[: _MOST_AXES + 1]]
    # Sizes that ask nothing of the old shape.
    fits = 0 < len(shape) <= _MOST_AXES and min(shape) > 0 and prod(shape) == array.size
    return array.reshape(shape) if fits else None


def _unsqueeze(node: ir.Node, array: Array, axes: Array | None) -> Array | None:
    named = [] if axes is None else [int(axis) for axis in axes.ravel()[: _MOST_AXES + 1]]
    rank = array.ndim + len(named)
    fits = rank <= _MOST_AXES and all(-rank <= axis < rank for axis in named)
    return np.expand_dims(array, tuple(named)) if fits and len({axis % rank for axis in named}) == len(named) else None


_FOLDS: dict[str, Callable[[ir.Node, Array, Array | None], Array | None]] = {
    "Cast": _cast,
    "CastLike": _cast,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
}
