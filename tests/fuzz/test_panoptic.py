"""Hostile panoptic ground truth: COCO's JSON, and PNGs of ids and labels."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

Mixed = Callable[..., st.SearchStrategy[Any]]
Altered = Callable[[Any], Callable[[Any], bytes]]

VALID: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 8, "width": 6}],
    "annotations": [
        {"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 9, "category_id": 3, "iscrowd": 0}]}
    ],
    "categories": [{"id": 3, "name": "bun", "isthing": 1}, {"id": 5, "name": "table", "isthing": 0}],
}
_SEGMENT = ("annotations", 0, "segments_info", 0)
PLACES: list[tuple[Any, ...]] = [
    *(("images", 0, key) for key in VALID["images"][0]),
    *(("annotations", 0, key) for key in VALID["annotations"][0]),
    *((*_SEGMENT, key) for key in ("id", "category_id", "iscrowd")),
    *(("categories", 1, key) for key in VALID["categories"][1]),
    *((key,) for key in VALID),
    *((key, 0) for key in VALID),
    _SEGMENT,
]
FILE_NAMES = [
    *("../../outside/secret", "/etc/passwd", "up/annotations.json", "circle", "circle/x", "pipe.png", "zero.png"),
    *("folder.png", "secret.png", ".", "..", "a.png/../a.png", "x" * 300, "x/" * 3000, "\0", "\ud800", "a\nb.png", ""),
]
VALUES = [-1, 0, 2**24, 2**31, 2**63, 10**400, 1e308, True, None, 1.5, "", [], {}, [[]], [{}], [None]]


def png(pixels: Any, mode: str | None = None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8), mode=mode).save(file, "PNG")
    return file.getvalue()


def with_header(content: bytes, width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that says it has this size and type."""
    header = b"IHDR" + struct.pack(">IIBB", width, height, depth, colour) + content[26:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


MASK = png([[[9 * (row > 2), 0, 0] for _ in range(6)] for row in range(8)])
LABELS = png([[row % 2 for _ in range(6)] for row in range(8)])
AROUND = {
    f"{kind}/{name}": content
    for kind in ("masks", "labels")
    for name, content in {
        "secret.png": ("link", "../../outside/secret"),
        "zero.png": ("link", "/dev/zero"),
        "circle": ("link", "circle"),
        "up": ("link", ".."),
        "pipe.png": ("pipe", ""),
        "folder.png": ("folder", ""),
    }.items()
}
PNGS = [
    b"",
    b"%!PS-Adobe-3.0 EPSF-3.0\n",
    *(with_header(MASK, *size) for size in ((6, 9), (0, 0), (60000, 60000), (2**31, 2**31))),
    *(with_header(MASK, 6, 8, *kind) for kind in ((16, 2), (8, 6), (1, 0), (8, 3), (3, 7))),
    MASK[:33] + struct.pack(">I", 2**31 - 1) + MASK[37:],
    png([[7] * 6] * 8),
    png([[[7, 8, 9]] * 6] * 8),
    ("link", "/dev/zero"),
    ("pipe", ""),
]
TEXTS = [b"[" * 100000, b"1" * 9000, b'{"images": NaN}', b"\xff\xfe", b"null"]


def files(annotations: Any, mask: Any = MASK, labels: Any = LABELS) -> tuple[dict[str, Any], list[str]]:
    return {"annotations.json": annotations, "masks/a.png": mask, "labels/a.png": labels, **AROUND}, []


def test_hostile_panoptic_truth_is_measured_on_or_refused_in_one_line(
    fuzz: Any, mutated: Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]], mixed: Mixed, altered: Altered
) -> None:
    changed = altered(VALID)
    valid = changed([])
    value = st.sampled_from([*VALUES, *FILE_NAMES]) | st.integers(0, 9) | st.text(max_size=9)
    made = st.lists(st.tuples(st.sampled_from(PLACES), value), min_size=1, max_size=2).map(changed)
    annotations = mixed((6, made), (2, mutated(st.just(valid))), (1, st.sampled_from(TEXTS)))
    masks, labels = (mixed((4, mutated(st.just(sound))), (1, st.sampled_from(PNGS))) for sound in (MASK, LABELS))
    inputs = mixed(
        (2, annotations.map(files)),
        (1, masks.map(lambda mask: files(valid, mask))),
        (1, labels.map(lambda label: files(valid, labels=label))),
    )
    known = [files(changed([(place, value)])) for place in PLACES for value in (10**400, [], None)]
    known += [
        files(changed([((key, 0, "file_name"), name)])) for key in ("images", "annotations") for name in FILE_NAMES
    ]
    known += [files(text) for text in TEXTS]
    known += [given for content in PNGS for given in (files(valid, content), files(valid, labels=content))]
    # So large a size is believed neither of the PNG nor of the annotations.
    large = changed([(("images", 0, "height"), 60000), (("images", 0, "width"), 60000)])
    known.append(files(large, with_header(MASK, 60000, 60000), with_header(LABELS, 60000, 60000, 8, 0)))
    fuzz("panoptic", files(valid), inputs, known)
