"""Arrays as bytes, to and from the Caffe2 worker."""

import json
import subprocess

import numpy as np
import pytest

from roastery.caffe2 import array_frames
from roastery.caffe2.array_frames import pack, unpack
from roastery.caffe2.caffe2_runtime import find_caffe2_python

ARRAYS = {
    "f": np.array([[1.5, np.nan], [np.inf, -0.0]], np.float32),
    "turned": np.arange(6).reshape(2, 3).T,
    "none": np.zeros((0, 4), np.float32),
    "scalar": np.array(7, np.int32),
    "flags": np.array([True, False]),
    "bytes": np.arange(5, dtype=np.uint8),
}


def test_what_is_packed_is_unpacked() -> None:
    header, arrays = unpack(pack({"do": "run", "fetch": ["é"]}, ARRAYS))
    assert header == {"do": "run", "fetch": ["é"]}
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["text"]), np.array([1j]), np.zeros(1, "f4,i4")])
def test_what_is_not_plain_numbers_is_not_sent(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"array 'a' of type .* cannot be sent"):
        pack({}, {"a": array})


def framed(text: object, tail: bytes = b"") -> bytes:
    content = json.dumps(text).encode()
    return len(content).to_bytes(4, "big") + content + tail


def entry(**changes: object) -> dict[str, object]:
    return {"header": {}, "arrays": [{"name": "a", "type": "<f4", "shape": [1], **changes}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut off"),
        (b"\x00\x00\x00\x01x", "Expecting value"),
        (b"\xff\xff\xff\xff{}", "cut off"),
        (framed([]), "lacks"),
        (framed({"arrays": []}), "lacks"),
        (framed({"header": [["do", "run"]], "arrays": []}), "is no object"),
        (framed({"header": {}, "arrays": [{"name": "a"}]}), "lacks"),
        (framed(entry()), "cut off"),
        (framed(entry(), b"1234567"), "belong to no array"),
        (framed(entry(type="|O"), b"12345678"), "not plain numbers"),
        (framed(entry(shape=[-1]), b"1234"), "not plain numbers"),
        (framed(entry(shape=[1.0]), b"1234"), "not plain numbers"),
        (framed(entry(shape=[1 << 62, 1 << 62])), "cut off"),
        (b"\x00\x00\x00\x02\xff\xfe", "decode"),
    ],
)
def test_bytes_that_are_no_arrays_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpack(content)


@pytest.mark.caffe2
def test_the_workers_interpreter_reads_and_writes_the_same() -> None:
    script = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('frames', sys.argv[1])\n"
        "frames = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(frames)\n"
        "sys.stdout.buffer.write(frames.pack(*frames.unpack(sys.stdin.buffer.read())))\n"
    )
    packed = pack({"do": "run"}, ARRAYS)
    command = [find_caffe2_python(), "-I", "-c", script, array_frames.__file__]
    assert subprocess.run(command, input=packed, capture_output=True, check=True).stdout == packed


def test_a_header_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        unpack((100_000).to_bytes(4, "big") + b"[" * 100_000)
