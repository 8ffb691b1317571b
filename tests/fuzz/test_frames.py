"""Hostile frames, as a Caffe2 worker that has gone mad might answer."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from roastery.caffe2.array_frames import pack

Mixed = Callable[..., st.SearchStrategy[Any]]
Mostly = Callable[[Any, st.SearchStrategy[Any]], st.SearchStrategy[Any]]

VALID = pack({"do": "run", "fetch": ["y"]}, {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7)})

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
_extent = st.integers(0, 4) | st.sampled_from([-1, 2**31, 2**62, 2**63, 2**64, 10**4000, True, 1.5, "3", None])


def framed(text: bytes, data: bytes, length: int | None) -> bytes:
    return (len(text) if length is None else length).to_bytes(4, "big") + text + data


def entries(mostly: Mostly) -> st.SearchStrategy[Any]:
    """An array of eight bytes."""
    shapes = st.lists(_extent, max_size=4) | st.sampled_from([[1, 2], [1] * 62 + [2], [1] * 90, [0, 2**62], []])
    return st.fixed_dictionaries(
        {
            "name": mostly("x", st.sampled_from(["", "../x"]) | _json),
            "type": mostly("<f4", st.sampled_from(["<f8", "|b1", "|u1", "|O", "<f4,<f4", "V8"]) | _json),
            "shape": mostly([2], shapes | _json),
        }
    )


def test_hostile_frames_are_arrays_or_refused(
    fuzz: Any, mutated: Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]], mixed: Mixed, mostly: Mostly
) -> None:
    wholes = st.fixed_dictionaries(
        {
            "header": mostly({"do": "run"}, _json),
            "arrays": mixed(
                (4, entries(mostly).map(lambda entry: [entry])), (1, st.lists(entries(mostly))), (1, _json)
            ),
        }
    )
    texts = [b"[" * 100000, b'{"a":' * 50000, b"9" * 9000, b"[" * 900 + b"]" * 900, b"NaN", b"\xff"]
    made = st.builds(
        framed,
        mixed((6, wholes.map(lambda whole: json.dumps(whole).encode())), (1, st.sampled_from(texts))),
        mostly(b"\0" * 8, st.sampled_from([b"", b"\0" * 4, b"\0" * 24])),
        mostly(None, st.sampled_from([0, 1, 2**31, 2**32 - 1])),
    )
    frames = mixed((5, made), (1, mutated(st.just(VALID))))
    known = [({"frames": framed(text, b"", None)}, []) for text in texts]
    fuzz("frames", ({"frames": VALID}, []), frames.map(lambda content: ({"frames": content}, [])), known)
