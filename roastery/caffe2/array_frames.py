"""A JSON header and named arrays as one run of bytes: what goes to and comes from the Caffe2 worker.

Four bytes length (big-endian), a JSON object, then the arrays' own bytes one behind the other. Nothing in it can
execute. Standard library and numpy only, and written for CPython 3.8 on: the worker's interpreter loads it too.
"""

import json
from typing import Any, Dict, Mapping, Tuple  # noqa: UP035  (CPython 3.8)

import numpy as np

_LENGTH_BYTES = 4
# Plain numbers, little-endian. No object arrays: those are pickles.
_TYPES = ("<f4", "<f8", "<i2", "<i4", "<i8", "<u2", "|u1", "|i1", "|b1")
Arrays = Dict[str, Any]  # noqa: UP006  (CPython 3.8)


def pack(header: Mapping[str, Any], arrays: Mapping[str, Any]) -> bytes:
    """Join them.

    Raises:
        ValueError: an array of a type that is not plain numbers.
    """
    listed = []
    parts = []
    for name, given in arrays.items():
        array = np.ascontiguousarray(given).reshape(np.shape(given))
        if array.dtype.str not in _TYPES:
            raise ValueError("array {!r} of type {} cannot be sent".format(name, array.dtype))  # noqa: UP032
        listed.append({"name": name, "type": array.dtype.str, "shape": list(array.shape)})
        parts.append(array.tobytes())
    text = json.dumps({"header": dict(header), "arrays": listed}).encode()
    return b"".join([len(text).to_bytes(_LENGTH_BYTES, "big"), text, *parts])


def unpack(content: bytes) -> Tuple[Dict[str, Any], Arrays]:  # noqa: UP006
    """Take them apart; the arrays are read-only views of the bytes.

    Raises:
        ValueError: bytes that `pack` did not make.
    """
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "big")
    if len(content) < start:
        raise ValueError("the header is cut off")
    try:
        whole = json.loads(content[_LENGTH_BYTES:start].decode())
    except RecursionError as error:
        raise ValueError("the header is nested too deeply") from error
    arrays: Arrays = {}
    try:
        for entry in whole["arrays"]:
            start = _take(content, start, entry, arrays)
        header = whole["header"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("the header lacks what it must have: {!r}".format(error)) from error  # noqa: UP032
    if not isinstance(header, dict):
        raise ValueError("the header is no object")
    if start != len(content):
        raise ValueError("{} bytes belong to no array".format(len(content) - start))  # noqa: UP032
    return header, arrays


def _take(content: bytes, start: int, entry: Mapping[str, Any], arrays: Arrays) -> int:
    shape = entry["shape"]
    if entry["type"] not in _TYPES or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("array {!r} is not plain numbers".format(entry["name"]))
    dtype = np.dtype(entry["type"])
    count = 1
    for size in shape:
        count *= size
    if start + count * dtype.itemsize > len(content):
        raise ValueError("array {!r} is cut off".format(entry["name"]))
    arrays[entry["name"]] = np.frombuffer(content, dtype, count, start).reshape(shape)
    return start + count * int(dtype.itemsize)
