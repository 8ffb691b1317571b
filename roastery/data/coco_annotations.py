"""COCO annotations checked for what pycocotools takes for granted.

Source: pycocotools/cocoeval.py (the keys that it reads) and common/maskApi.c (`rleFrString`, which trusts its text).
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from roastery.errors import DatasetError

# Six bits a character from '0' on; the sixth says that another follows, so the last has it not.
_RLE_TEXT = re.compile(r"(?:[P-o]*[0-O])*")


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
        if not _are_run_lengths(mask.get("counts"), size):
            yield "has a mask whose run lengths are damaged or do not fill its image"
    elif mask is not None and not _are_polygons(mask):
        yield "has a 'segmentation' that is neither polygons of three points or more nor run lengths"


def _are_run_lengths(counts: Any, size: tuple[int, int]) -> bool:
    if isinstance(counts, str):
        return counts != "" and _RLE_TEXT.fullmatch(counts) is not None
    return (
        isinstance(counts, list)
        and all(type(count) is int and count >= 0 for count in counts)
        and sum(counts) == size[0] * size[1]
    )


def _are_polygons(mask: Any) -> bool:
    return isinstance(mask, list) and all(
        isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 and _are_numbers(polygon)
        for polygon in mask
    )


def _are_numbers(values: Sequence[Any]) -> bool:
    # `map`, since a dataset has millions of coordinates.
    try:
        return set(map(type, values)) <= {int, float} and all(map(math.isfinite, values))
    except OverflowError:  # an integer beyond any float
        return False
