"""Hostile frames, as a Caffe2 worker that has gone mad might answer."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from roastery.caffe2.array_frames import pack

VALID = pack({"do": "run", "fetch": ["y"]}, {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7)})

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
_extent = st.integers(0, 4) | st.sampled_from([-1, 2**31, 2**62, 2**63, 2**64, 10**4000, True, 1.5, "3", None])
_entry = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "", "../x"]) | _json,
        "type": st.sampled_from(["<f4", "|b1", "|u1", "|O", "<f4,<f4", "V8"]) | _json,
        "shape": st.lists(_extent, max_size=4) | st.just([1] * 90) | st.just([0, 2**62]) | _json,
    }
)


def framed(text: bytes, data: bytes, length: int | None) -> bytes:
    return (len(text) if length is None else length).to_bytes(4, "big") + text + data


_made = st.builds(
    framed,
    st.one_of(
        st.fixed_dictionaries({"header": _json, "arrays": st.lists(_entry, max_size=3) | _json}).map(
            lambda whole: json.dumps(whole).encode()
        ),
        st.sampled_from([b"[" * 100000, b'{"a":' * 50000, b"9" * 9000, b'{"header":{},"arrays":[]}', b"NaN"]),
    ),
    st.sampled_from([b"", b"\0" * 4, b"\0" * 24]),
    st.none() | st.sampled_from([0, 1, 2**31, 2**32 - 1]),
)


def test_hostile_frames_are_arrays_or_refused(
    fuzz: Any, mutated: Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]]
) -> None:
    frames = _made | mutated(st.just(VALID))
    fuzz("frames", ({"frames": VALID}, []), frames.map(lambda content: ({"frames": content}, [])))
