"""Hostile LVIS: addresses that lead elsewhere, and lists of categories that are none."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Mixed = Callable[..., st.SearchStrategy[Any]]
Altered = Callable[[Any], Callable[[Any], bytes]]

VALID: dict[str, Any] = {
    "images": [
        {
            "id": 1,
            "coco_url": "http://x/val2017/a.jpg",
            "height": 8,
            "width": 6,
            "neg_category_ids": [4],
            "not_exhaustive_category_ids": [3],
        }
    ],
    "categories": [{"id": 3, "name": "bun", "frequency": "r"}, {"id": 4, "name": "bap", "frequency": "f"}],
    "annotations": [
        {
            "id": 5,
            "image_id": 1,
            "category_id": 3,
            "bbox": [0, 0, 2, 2.5],
            "area": 5.0,
            "segmentation": [[0, 0, 2, 0, 2, 2.5]],
        }
    ],
}
PLACES = [(key, 0, name) for key, entries in VALID.items() for name in entries[0]]
PLACES += [*((key,) for key in VALID), *((key, 0) for key in VALID), ("images", 0, "file_name")]
ADDRESSES = [
    *("/", "//", "../a.jpg", "val2017/..", "val2017/../a.jpg", "../../outside/secret", "/etc/passwd", "a.jpg", ""),
    *("up/a.jpg", "val2017/secret.jpg", "val2017/circle.jpg", "val2017/pipe.jpg", "missing/a.jpg", "val2017/\0"),
    *("x" * 300 + "/a.jpg", "val2017/" + "x" * 300, "\ud800/a.jpg", "val2017/\ud800", "a\nb/c.jpg", "~/a.jpg"),
]
VALUES = [-1, 0, 2**31, 2**64, 10**400, 1e308, True, None, 1.5, "", "r", [], {}, [[]], [{}], [None], [3], [4], [True]]
AROUND = {
    "coco/val2017/a.jpg": b"an image",
    "coco/val2017/secret.jpg": ("link", "../../../outside/secret"),
    "coco/val2017/circle.jpg": ("link", "circle.jpg"),
    "coco/val2017/pipe.jpg": ("pipe", ""),
}
TEXTS = [b"[" * 100000, b"1" * 9000, b'{"images": NaN}', b"\xff\xfe", b"", b"null", b"{}"]


def of_bytes(content: bytes) -> tuple[dict[str, Any], list[str]]:
    return {"lvis.json": content, **AROUND}, []


def test_a_hostile_lvis_is_measured_on_or_refused_in_one_line(
    fuzz: Any, mutated: Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]], mixed: Mixed, altered: Altered
) -> None:
    changed = altered(VALID)

    def files(*changes: tuple[tuple[Any, ...], Any]) -> tuple[dict[str, Any], list[str]]:
        return of_bytes(changed(changes))

    values = st.sampled_from([*VALUES, *ADDRESSES]) | st.integers(0, 9) | st.text(max_size=9)
    made = st.lists(st.tuples(st.sampled_from(PLACES), values), min_size=1, max_size=3)
    valid = json.dumps(VALID).encode()
    inputs = mixed((4, made.map(lambda changes: files(*changes))), (1, mutated(st.just(valid)).map(of_bytes)))
    known = [files((place, value)) for place in PLACES for value in (10**400, [], None)]
    known += [files((("images", 0, "coco_url"), address)) for address in ADDRESSES]
    # Without annotations, as the tests' images are.
    lists = [("images", 0, key) for key in ("neg_category_ids", "not_exhaustive_category_ids")]
    known += [files((("annotations",), []), (place, value)) for place in lists for value in VALUES]
    known += [of_bytes(text) for text in TEXTS]
    fuzz("lvis", files(), inputs, known)
