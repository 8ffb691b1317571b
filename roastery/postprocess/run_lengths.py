"""COCO's run lengths of masks, from the part of each that may be set.

Source: pycocotools 2.0, common/maskApi.c (rleEncode, rleToString), whose text this gives letter by letter. There the
whole image is gone through for each mask; here it is the box around it, and the letters of all masks are made together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BITS = 5
_FIRST_LETTER = 48


@dataclass(frozen=True)
class Region:
    """The part of a mask beyond which nothing is set.

    Attributes:
        left, top: of its first pixel, in the image.
        columns: (columns, rows) bool, column by column as COCO counts pixels; there may be none of either.
    """

    left: int
    top: int
    columns: NDArray[np.bool_]


def run_lengths(regions: Iterable[Region], image_size: tuple[int, int]) -> list[str]:
    """COCO's compressed run lengths of each mask.

    Args:
        image_size: (height, width) of the image that the regions lie in.
    """
    return _compressed([_counts(region, *image_size) for region in regions])


def _counts(region: Region, height: int, width: int) -> NDArray[np.int64]:
    """How many pixels are unset, set, unset, ..., column after column. The first may be 0."""
    count, rows = region.columns.shape
    # An unset pixel below each column, so that a run does not go on in the next one's middle.
    padded = np.zeros((count, rows + 1), np.bool_)
    padded[:, :rows] = region.columns
    flat = padded.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat.size and flat[0]:
        changes = np.concatenate(([0], changes))
    column, row = np.divmod(changes, rows + 1)
    places = (region.left + column) * height + region.top + row
    if rows == height:
        # A run that ends with the column and one that begins with the next are one.
        joined = np.flatnonzero(places[1:-1:2] == places[2::2])
        places = np.delete(places, np.concatenate((2 * joined + 1, 2 * joined + 2)))
    if not places.size or places[-1] != height * width:
        places = np.append(places, height * width)
    return np.diff(places, prepend=0)


def _compressed(counts: Sequence[NDArray[np.int64]]) -> list[str]:
    """Each number as its difference to the last but one, in letters of five bits and one that says if more come."""
    if not counts:
        return []
    numbers = np.concatenate([np.concatenate((each[:3], each[3:] - each[1:-2])) for each in counts])
    letters: list[NDArray[np.uint8]] = []
    used: list[NDArray[np.bool_]] = []
    more = np.ones(len(numbers), np.bool_)
    while more.any():
        low = numbers & 31
        numbers = numbers >> _BITS
        used.append(more)
        more = more & (numbers != np.where(low & 16, -1, 0))
        letters.append((low + 32 * more + _FIRST_LETTER).astype(np.uint8))
    taken = np.stack(used, axis=1)
    text = np.stack(letters, axis=1)[taken].tobytes().decode("ascii")
    ends = np.cumsum(taken.sum(axis=1))[np.cumsum([len(each) for each in counts]) - 1].tolist()
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
