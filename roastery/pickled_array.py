"""The arrays of a pickle, built from checked parts: no shape, dtype or length is believed.

Source: numpy/core/src/multiarray/methods.c (`array_reduce`, `array_setstate`) and descriptor.c
(`arraydescr_setstate`), for what the parts are.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_DIMENSIONS = 32
_DTYPES = frozenset(f"{kind}{size}" for kind, sizes in {"f": "248", "i": "1248", "u": "1248"}.items() for size in sizes)


class PickleRefusedError(Exception):
    """The pickle asks for what is not allowed. The message is a clause without the file's name."""


class PickleDamagedError(PickleRefusedError):
    """The pickle is cut off, or makes no sense."""


class PickledDType:
    """A dtype under construction: its code and, once the pickle has said so, its byte order."""

    def __init__(self, code: Any) -> None:
        # What is no text may have no hash, or one whose computation does not end.
        if not isinstance(code, str):
            raise PickleDamagedError("holds a damaged dtype")
        if code == "b1":
            self.dtype = np.dtype(np.bool_)
        elif code in _DTYPES:
            self.dtype = np.dtype(f"<{code}")
        else:
            raise PickleRefusedError(f"holds an array of dtype {code[:20]!r}; only plain numbers are read")

    def set_state(self, state: Any) -> None:
        """Takes the byte order from `dtype.__reduce__`'s state; refuses fields and subarrays."""
        if not (isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)):
            raise PickleRefusedError("holds an array of a structured dtype; only plain numbers are read")
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")
        elif state[1] not in ("<", "|", "="):
            raise PickleDamagedError("holds a damaged dtype")


class PickledArray:
    """An array under construction. `values` is set by the state that follows it."""

    def __init__(self) -> None:
        self.values: NDArray[Any] | None = None

    def set_state(self, state: Any) -> None:
        """Makes the array from `ndarray.__reduce__`'s state: version, shape, dtype, Fortran order, bytes."""
        if not (isinstance(state, tuple) and len(state) == 5):
            raise PickleDamagedError("holds a damaged array")
        _, shape, dtype, fortran, raw = state
        self.values = array_from(raw, dtype, shape, "F" if fortran else "C")


def array_from(raw: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    """The array with these bytes, writable, C-ordered, of native byte order; every part is checked first."""
    if not isinstance(dtype, PickledDType) or order not in ("C", "F"):
        raise PickleDamagedError("holds a damaged array")
    if not (
        isinstance(shape, tuple)
        and len(shape) <= _MAX_DIMENSIONS
        and all(type(extent) is int and 0 <= extent < 1 << 63 for extent in shape)
    ):
        raise PickleDamagedError("holds an array without a proper shape")
    if isinstance(raw, str):
        # Python 2 wrote an array's bytes as a string.
        raw = latin1(raw)
    if not isinstance(raw, bytes | bytearray):
        raise PickleDamagedError("holds an array whose values are not bytes")
    # In Python's integers, which do not overflow: a huge shape is seen before anything is made of it.
    wanted = math.prod(shape) * dtype.dtype.itemsize
    if wanted != len(raw):
        raise PickleDamagedError(f"holds an array of shape {shape} that needs {wanted} bytes and has {len(raw)}")
    array: NDArray[Any] = np.ndarray(shape, dtype.dtype, raw, order=order)
    if not array.flags.writeable or order == "F" or not dtype.dtype.isnative:
        array = np.array(array, dtype=dtype.dtype.newbyteorder("="), order="C")
    return array


def latin1(text: str) -> bytearray:
    """Text that stands for bytes, as protocol 2 and Python 2 write them, as those bytes."""
    try:
        return bytearray(text, "latin-1")
    except UnicodeEncodeError:
        raise PickleDamagedError("holds text where bytes should be") from None
