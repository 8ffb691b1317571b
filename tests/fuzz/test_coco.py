"""Hostile datasets: COCO's JSON, and images that lie elsewhere."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Mixed = Callable[..., st.SearchStrategy[Any]]
Altered = Callable[[Any], Callable[[Any], bytes]]

VALID: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 6}],
    "categories": [{"id": 3, "name": "bun"}],
    "annotations": [
        {
            "id": 5,
            "image_id": 1,
            "category_id": 3,
            "bbox": [0, 0, 2, 2.5],
            "area": 5.0,
            "iscrowd": 0,
            "segmentation": [[0, 0, 2, 0, 2, 2.5]],
        }
    ],
}
IMAGES = {
    "images/a.png": b"an image",
    "images/deeper/b.png": b"another",
    "images/hard.png": ("hard link", "images/a.png"),
    "images/secret.png": ("link", "../../outside/secret"),
    "images/passwd": ("link", "/etc/passwd"),
    "images/zero": ("link", "/dev/zero"),
    "images/circle": ("link", "circle"),
    "images/up": ("link", ".."),
    "images/pipe": ("pipe", ""),
    "images/folder": ("folder", ""),
}
FILE_NAMES = [
    *(
        "../../outside/secret",
        "/etc/passwd",
        "deeper/../a.png",
        "deeper/../../images/a.png",
        "up/annotations.json",
    ),
    *(
        "circle",
        "circle/x",
        "pipe",
        "zero",
        "folder",
        "secret.png",
        "passwd",
        "hard.png",
        "/dev/zero",
        ".",
        "..",
    ),
    *(
        "a.png/../a.png",
        "x" * 300,
        "x/" * 3000,
        "\0",
        "\ud800",
        "<script>.png",
        "a\nb.png",
        "\u202egnp.a",
        "~/x",
    ),
]
_FILE_NAMES = st.sampled_from(FILE_NAMES) | st.text(max_size=20)
_HUGE = st.sampled_from([-1, 0, 2**31, 2**62, 2**64, 10**300, 1e308, True, None, 1.5])
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | _HUGE | _FILE_NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)
_COUNTS = st.one_of(
    st.sampled_from(["", "0", "PPPP", "`" * 20, "oooo0", "`1", [48], [24, 24], [2**70], [-1, 49], [True] * 48]),
    st.text("0`oP1", max_size=9),
)
_MASKS = st.one_of(
    st.fixed_dictionaries(
        {"size": st.sampled_from([[8, 6], [8, 6], [8, 6], [6, 8], [2**31] * 2, [8, 6.0]]), "counts": _COUNTS}
    ),
    st.lists(st.lists(st.integers(0, 9) | st.floats(0, 9) | _HUGE, min_size=6, max_size=8), max_size=2),
)
_NUMBER = st.integers(-9, 9) | st.floats(0, 9)
# What might as well stand there.
_SOUND = {
    "id": st.integers(0, 9),
    "image_id": st.just(1),
    "category_id": st.just(3),
    "height": st.integers(1, 9) | st.just(2**31),
    "width": st.integers(1, 9),
    "name": st.text(max_size=9).filter(lambda text: text.isprintable()),
    "bbox": st.lists(_NUMBER, min_size=4, max_size=4),
    "area": _NUMBER,
    "iscrowd": st.sampled_from([0, 1]),
}
_LEAVES = [(key, 0, name) for key, entries in VALID.items() for name in entries[0] if name in _SOUND]
_ABOVE = [*((key,) for key in VALID), *((key, 0) for key in VALID), ("annotations", 0, "ignore"), ("x",)]


def changes(mixed: Mixed) -> st.SearchStrategy[Any]:
    sound_names = st.sampled_from(["deeper/b.png", "hard.png"])
    return mixed(
        (3, st.sampled_from(_LEAVES).flatmap(lambda place: st.tuples(st.just(place), _SOUND[place[-1]]))),
        (2, st.tuples(st.sampled_from(_LEAVES + _ABOVE), _ANY)),
        (2, st.tuples(st.just(("images", 0, "file_name")), mixed((1, sound_names), (3, _FILE_NAMES)))),
        (2, st.tuples(st.just(("annotations", 0, "segmentation")), _MASKS)),
    )


TEXTS = [
    b"[" * 100000,
    b'{"a":' * 50000,
    b"1" * 9000,
    b'{"images": NaN}',
    b"\xff\xfe",
    b"",
    b"null",
    b'{"images": [{"id": ' + b"[" * 900 + b"]" * 900 + b"}]}",
]
_TEXTS = st.sampled_from(TEXTS)
_SPECIAL = st.sampled_from(
    [("pipe", ""), ("folder", ""), ("link", "/dev/zero"), ("link", "annotations.json"), ("link", "../outside/pipe")]
)


def test_a_hostile_dataset_gives_images_in_its_folder_or_one_line(
    fuzz: Any, mutated: Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]], mixed: Mixed, altered: Altered
) -> None:
    changed = altered(VALID)
    valid = json.dumps(VALID).encode()
    made = st.lists(changes(mixed), min_size=1, max_size=2).map(changed)
    contents = mixed((8, made), (1, mutated(st.just(valid))), (1, _TEXTS | _SPECIAL))
    inputs = contents.map(lambda content: ({"annotations.json": content, **IMAGES}, []))
    known = [*TEXTS, *(changed([(("images", 0, "file_name"), name)]) for name in FILE_NAMES)]
    places = [(key, 0, name) for key, entries in VALID.items() for name in entries[0]]
    known += [changed([(place, value)]) for place in places for value in (10**400, [], None)]
    # Outlines and run lengths that pycocotools would crash on, and go on with for ever.
    masks = [[[0, 0, 1e9, 0, 1e9, 1e9]], {"size": [8, 6], "counts": "5555"}, {"size": [8, 6], "counts": "P" * 99}]
    known += [changed([(("annotations", 0, "segmentation"), mask)]) for mask in masks]
    known_inputs = [({"annotations.json": content, **IMAGES}, []) for content in known]
    fuzz("coco", ({"annotations.json": valid, **IMAGES}, []), inputs, known_inputs)
