"""Hostile datasets: COCO's JSON, and images that lie elsewhere."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

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
_FILE_NAMES = st.one_of(
    st.sampled_from(
        [
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
    ),
    st.text(max_size=20),
)
_HUGE = st.sampled_from([-1, 0, 2**31, 2**62, 2**64, 10**300, 1e308, True, None, 1.5])
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | _HUGE | _FILE_NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)
_MASKS = st.one_of(
    st.builds(
        lambda size, counts: {"size": size, "counts": counts},
        st.sampled_from([[8, 6], [6, 8], [2**31, 2**31], [], [8, 6.0]]),
        st.sampled_from(["", "0", "PPPP", "`" * 20, "oooo0", [48], [2**70], [24, 24], [-1, 49], [True] * 48, "\ud800"])
        | st.text(max_size=9),
    ),
    st.lists(st.lists(_HUGE | st.floats() | st.integers(), max_size=8), max_size=2),
)
_CHANGES = (
    st.tuples(
        st.sampled_from(
            [
                *(("images", 0, key) for key in ("id", "height", "width")),
                *(("annotations", 0, key) for key in VALID["annotations"][0]),
                *(("categories", 0, key) for key in ("id", "name")),
                *((key,) for key in VALID),
                *((key, 0) for key in VALID),
            ]
        ),
        _ANY | _HUGE,
    )
    | st.tuples(st.just(("images", 0, "file_name")), _FILE_NAMES)
    | st.tuples(st.just(("annotations", 0, "segmentation")), _MASKS)
)


def changed(changes: list[tuple[tuple[Any, ...], Any]]) -> bytes:
    content: Any = deepcopy(VALID)
    for (*above, last), value in changes:
        place = content
        try:
            for key in above:
                place = place[key]
            place[last] = value
        except (TypeError, KeyError, IndexError):
            # An earlier change has taken the place away.
            continue
    return json.dumps(content).encode()


_TEXTS = st.sampled_from([b"[" * 100000, b'{"a":' * 50000, b"1" * 9000, b'{"images": NaN}', b"\xff\xfe", b"", b"null"])
_SPECIAL = st.sampled_from(
    [("pipe", ""), ("folder", ""), ("link", "/dev/zero"), ("link", "annotations.json"), ("link", "../outside/pipe")]
)


def test_a_hostile_dataset_gives_images_in_its_folder_or_one_line(
    fuzz: Any, mutated: Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]]
) -> None:
    valid = json.dumps(VALID).encode()
    made = st.lists(_CHANGES, min_size=1, max_size=3).map(changed)
    contents = st.one_of(made, made, mutated(st.just(valid)), _TEXTS, _SPECIAL)
    inputs = contents.map(lambda content: ({"annotations.json": content, **IMAGES}, []))
    fuzz("coco", ({"annotations.json": valid, **IMAGES}, []), inputs)
