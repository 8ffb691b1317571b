"""COCO annotations checked for what pycocotools takes for granted.

Source: pycocotools/cocoeval.py (the keys that it reads) and common/maskApi.c (`rleFrString`, which trusts its text).
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from roastery.errors import DatasetError

# Six bits a character from '0' on; the sixth says that another follows, so the last has it not. 35 bits are enough.
_RLE_TEXT = re.compile(r"(?:[P-o]{0,6}[0-O])*")


def check_annotations(
    annotations: Sequence[Mapping[str, Any]],
    sizes: Mapping[int, tuple[int, int]],
    category_ids: Collection[int],
    path: Path,
) -> None:
    """Checks every annotation.

    Args:
        sizes: image id to (height, width).
        path: the file, for the error.

    Raises:
        DatasetError: an unknown image or category, a key that is missing, or a value that is not what COCO says.
    """
    for annotation in annotations:
        for problem in _problems(annotation, sizes, category_ids):
            raise DatasetError(f"{path}: annotation {annotation['id']} {problem}; correct the annotations")


def _problems(
    annotation: Mapping[str, Any], sizes: Mapping[int, tuple[int, int]], category_ids: Collection[int]
) -> Iterator[str]:
    """What is wrong with it."""
    image, category = annotation.get("image_id"), annotation.get("category_id")
    size = sizes.get(image) if type(image) is int else None
    if size is None:
        yield f"names the image {str(image)[:40]!r}, which is not in 'images'"
        return
    if type(category) is not int or category not in category_ids:
        yield f"names the category {str(category)[:40]!r}, which is not in 'categories'"
    if annotation.get("iscrowd") not in (0, 1):
        yield "has no 'iscrowd' of 0 or 1"
    if annotation.get("ignore", 0) != 0:
        yield "has 'ignore', which detectron2 does not support"
    box = annotation.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and _are_numbers(box)):
        yield "has no 'bbox' of four numbers"
    if not _are_numbers([annotation.get("area")]):
        yield "has no 'area'"
    mask = annotation.get("segmentation")
    if isinstance(mask, dict):
        if mask.get("size") != [*size]:
            yield f"has a mask of another size than its image's {[*size]}"
        if not are_run_lengths(mask.get("counts"), size):
            yield "has a mask whose run lengths are damaged or do not fill its image"
    elif mask is not None and not _are_polygons(mask):
        yield "has a 'segmentation' that is neither polygons of three points or more nor run lengths"
    elif mask is not None and not all(_is_near(polygon, size) for polygon in mask):
        yield f"has a polygon that leads far out of its image {[*size]}"


def are_run_lengths(counts: Any, size: tuple[int, int]) -> bool:
    """Whether they, numbers or COCO's text of them, fill an image of `size`, (height, width).

    pycocotools compares masks until both are used up, and takes that to be at once.
    """
    if isinstance(counts, str):
        if not (counts and _RLE_TEXT.fullmatch(counts)):
            return False
        counts = _decoded(counts)
    return (
        isinstance(counts, list)
        and all(type(count) is int and count >= 0 for count in counts)
        and sum(counts) == size[0] * size[1]
    )


def _decoded(text: str) -> list[int]:
    """The run lengths that a text stands for: five bits a character, lowest first; from the fourth on, differences."""
    counts: list[int] = []
    value = shift = 0
    for code in text.encode("ascii"):
        bits = code - ord("0")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            # Of the last character the highest bit is the sign.
            value -= (bits & 16) << shift - 4
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    return counts


def _are_polygons(mask: Any) -> bool:
    return isinstance(mask, list) and all(
        isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 and _are_numbers(polygon)
        for polygon in mask
    )


def _is_near(polygon: Sequence[float], size: tuple[int, int]) -> bool:
    """Whether no point lies further out of the image than the image is large: an outline is drawn pixel by pixel."""
    return all(
        -side <= min(values) and max(values) <= 2 * side
        for side, values in ((size[1], polygon[::2]), (size[0], polygon[1::2]))
    )


def _are_numbers(values: Sequence[Any]) -> bool:
    # `map`, since a dataset has millions of coordinates.
    try:
        return set(map(type, values)) <= {int, float} and all(map(math.isfinite, values))
    except OverflowError:  # an integer beyond any float
        return False
