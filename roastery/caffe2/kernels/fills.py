"""Fills: tensors that stand in a net as its arguments."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.arguments import Arguments, Field
from roastery.caffe2.kernels.registry import Compute, kernel
from roastery.errors import ModelFileError

# A fill's type to its numbers' and the argument field that they are in.
_GIVEN: dict[str, tuple[type[np.generic], Field]] = {
    "GivenTensorFill": (np.float32, "floats"),
    "GivenTensorDoubleFill": (np.float64, "floats"),
    "GivenTensorIntFill": (np.int32, "ints"),
    "GivenTensorInt64Fill": (np.int64, "ints"),
    "GivenTensorBoolFill": (np.bool_, "ints"),
}
FILLS = frozenset(_GIVEN)
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5


@kernel(*_GIVEN, inputs=(0, 0), fresh=False)
def build_given_tensor(arguments: Arguments) -> Compute:
    """`values` in the shape `shape`.

    Raises:
        ModelFileError: more or fewer values than the shape has places.

    Source: caffe2/operators/given_tensor_fill_op.h, PyTorch 1.10.
    """
    tensor = given_tensor(arguments)
    return lambda: (tensor,)


def given_tensor(arguments: Arguments) -> Tensor:
    """The tensor of a GivenTensor*Fill; its numbers are copied once, straight from the message's bytes."""
    dtype, field = _GIVEN[arguments.operator_type]
    shape = arguments.integers("shape", [])
    argument = arguments.find("values", field)
    if min(shape, default=0) < 0:
        raise ModelFileError(f"{arguments.owner}: shape {shape} is negative")
    if argument is None:
        values: NDArray[np.generic] = np.empty(0, dtype)
    elif field == "floats":
        values = packed_floats(argument).astype(dtype)
    else:
        whole = np.fromiter(argument.ints, np.int64, len(argument.ints))
        if dtype == np.int32 and whole.size and not (whole.min() >= -(2**31) and whole.max() < 2**31):
            raise ModelFileError(f"{arguments.owner}: a value does not fit into int32")
        values = whole.astype(dtype)
    if len(values) != math.prod(shape):
        raise ModelFileError(f"{arguments.owner}: {len(values)} values for the shape {shape}")
    try:
        return torch.from_numpy(values.reshape(shape))
    except ValueError as error:
        # Too many axes, or one that is endless beside one of size 0.
        raise ModelFileError(f"{arguments.owner}: no tensor has the shape {shape}") from error


def packed_floats(argument: caffe2_pb2.Argument) -> NDArray[np.float32]:
    """An argument's `floats` without a Python object for each: they lie one behind the other in the message's bytes.

    The array is a read-only view of bytes that nothing else holds.
    """
    content = argument.SerializeToString()
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        number, wire_type = key >> 3, key & 7
        if wire_type == _DELIMITED:
            length, place = _varint(content, place)
            if number == caffe2_pb2.Argument.FLOATS_FIELD_NUMBER:
                return np.frombuffer(content, "<f4", length // 4, place)
            place += length
        elif wire_type == _VARINT:
            _, place = _varint(content, place)
        else:
            place += {_FIXED32: 4, _FIXED64: 8}[wire_type]
    return np.empty(0, np.float32)


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """The number that begins there, and the place behind it."""
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
        shift += 7
