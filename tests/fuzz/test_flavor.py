"""Hostile models in MLflow's format: what MLmodel says under the flavor, and the names of classes."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

Changed = Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]]
Mixed = Callable[..., st.SearchStrategy[Any]]

ENTRY = {
    "roastery_version": "0.1.0",
    "meta_architecture": "GeneralizedRCNN",
    "batch": 1,
    "runtime": "torch",
    "files": dict.fromkeys(("model.pb", "model_init.pb", "vocabulary.json"), "0" * 64),
}
CLASSES = {"class_names": ["circle", "square"], "category_ids": [1, 2]}
VALUES = [
    *(None, True, -1, 0, 2**63, 10**400, 1e308, "", "\0", "a\nb", "\x1b[2J", "\u202e", "x" * 100_000, "../model.pb"),
    *([], [[]], {}, {"../../etc/passwd": "0" * 64}, {"model.pb": "x"}, ["x"] * 70_000, [1, "a"], [1.5], [True, 2]),
]
TEXTS = [
    *(b"", b"\0", b"[]", b"1", b"[" * 5000, b"{" * 5000, b"\xff\xfea\x00", b"flavors: 1", b"flavors: [roastery]"),
    *(b"flavors: &a {roastery: *a}", b"flavors: {roastery: !!python/object/apply:os.system ['touch ran']}"),
    *(b"NaN", b'{"class_names": NaN}', b'{"class_names": ["\\ud800"], "category_ids": [1]}', b" " * (17 << 20)),
]
SPECIAL = [("pipe", ""), ("folder", ""), ("link", "/dev/zero"), ("link", "MLmodel"), ("link", "../outside/pipe")]


def model(
    entry: Any = None, classes: Any = None, text: bytes | None = None, names: bytes | None = None
) -> dict[str, bytes | tuple[str, str]]:
    said = {"flavors": {"roastery": ENTRY if entry is None else entry}}
    return {
        "MLmodel": json.dumps(said).encode() if text is None else text,
        "vocabulary.json": json.dumps(CLASSES if classes is None else classes).encode() if names is None else names,
        "model.pb": b"a net",
        "model_init.pb": b"parameters",
    }


def with_one(sound: Mapping[str, Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Mapping[str, Any]]:
    """What is sound, with another value under one of its keys."""
    return st.builds(lambda key, value: {**sound, key: value}, st.sampled_from(sorted(sound)), values)


def test_a_hostile_model_of_the_flavor_is_refused_in_one_line(fuzz: Any, mutated: Changed, mixed: Mixed) -> None:
    values = st.sampled_from(VALUES) | st.text() | st.integers() | st.floats()
    written = st.just(model())
    files = mixed(
        (3, st.builds(model, with_one(ENTRY, values))),
        (3, st.builds(lambda classes: model(classes=classes), with_one(CLASSES, values))),
        (2, st.builds(lambda text: model(text=text), mutated(written.map(lambda files: files["MLmodel"])))),
        (2, st.builds(lambda text: model(names=text), mutated(written.map(lambda files: files["vocabulary.json"])))),
    )
    known = [
        *((model(text=text), []) for text in TEXTS),
        *((model(names=text), []) for text in TEXTS),
        *((model({**ENTRY, key: value}), []) for key in ENTRY for value in VALUES),
        *((model(classes={**CLASSES, key: value}), []) for key in CLASSES for value in VALUES),
        *(({**model(), name: special}, []) for name in model() for special in SPECIAL),
        # The digests are not those of the files.
        (model(), ["as they are said"]),
    ]
    tried = fuzz("flavor", (model(), []), st.tuples(files, st.just([])), known)
    assert tried["refused"] > len(known) / 2
