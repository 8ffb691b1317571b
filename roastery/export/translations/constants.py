"""Constants that a translation writes: the exporter's own types would not have them as inputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnxscript import opset21 as op


def whole_numbers(values: Sequence[int]) -> Any:
    """(n,) int64."""
    return op.Constant(value_ints=list(values))


def floats(values: Sequence[float]) -> Any:
    """(n,) float32."""
    return op.Constant(value_floats=list(values))


def tensor(array: NDArray[np.generic]) -> Any:
    """Of the array's shape and type."""
    value: Any = ir.tensor(array)
    return op.Constant(value=value)
