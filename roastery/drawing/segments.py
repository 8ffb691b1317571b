"""The segments of a panoptic model over their image: every pixel belongs to one, or to none."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from roastery.drawing.colours import LIGHT, Colour
from roastery.drawing.labels import Labels
from roastery.drawing.masks import Mask, area_of, coverage, outline, tint
from roastery.drawing.scale import Size, fitted_size, pens, resized

_THING_TINT, _STUFF_TINT = 0.6, 0.45
_COARSE_SIDE = 240
"""Pixels of the longer side of the map on which places for labels are looked for."""
_PLACES = 60
"""Tried for each label."""


@dataclass(frozen=True)
class DrawnSegment:
    """A segment as it is drawn.

    Attributes:
        id: its number in the map of ids.
        text: its label.
    """

    id: int
    text: str
    colour: Colour
    is_thing: bool


def draw_segments(
    image: Image.Image, ids: NDArray[np.integer], segments: Sequence[DrawnSegment], size: Size
) -> Image.Image:
    """A picture of this size (width, height): the RGB image with its segments tinted, outlined and labelled once each.

    Args:
        ids: (height, width) of the image: the segment of each pixel. What is of no segment in `segments` stays as it
            is.
    """
    pen = pens(size)
    pixels = np.array(resized(image, size))
    masks = {segment.id: mask for segment, mask in zip(segments, _masks(ids, segments, size), strict=True)}
    for segment in segments:
        area = area_of(masks[segment.id])
        if area is not None:
            tint(pixels, area, segment.colour, _THING_TINT if segment.is_thing else _STUFF_TINT)
            outline(pixels, area, LIGHT if segment.is_thing else segment.colour, max(pen.line // 2, 1))
    picture = Image.fromarray(pixels)
    labels = Labels(picture, pen)
    # A small one has few places for its label, a large one many.
    for segment in sorted(segments, key=lambda segment: int(masks[segment.id].sum())):
        labels.on_points(segment.text, segment.colour, _places(masks[segment.id]))
    return picture


def _masks(ids: NDArray[np.integer], segments: Sequence[DrawnSegment], size: Size) -> list[Mask]:
    """The mask of each segment at the picture's size: no two share a pixel, and edges are smooth where it is larger."""
    if size == ids.shape[::-1]:
        return [ids == segment.id for segment in segments]
    best = coverage(~np.isin(ids, [segment.id for segment in segments]), size)
    owner = np.full(best.shape, -1)
    for index, segment in enumerate(segments):
        covered = coverage(ids == segment.id, size)
        more = covered > best
        owner[more] = index
        best = np.maximum(best, covered)
    return [owner == index for index in range(len(segments))]


def _places(mask: Mask) -> list[tuple[float, float]]:
    """Points (x, y) within a mask, the farthest from its edge first; none for an empty one.

    Of those that are equally far, the nearest to the middle.
    """
    height, width = mask.shape
    coarse = fitted_size((width, height), min(_COARSE_SIDE, max(width, height)))
    inside = coverage(mask, coarse) > 0
    # The picture's border is an edge too.
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    rows, columns = np.nonzero(inside)
    middle = np.hypot(rows - rows.mean(), columns - columns.mean()) if len(rows) else rows
    order = np.lexsort((middle, -depth[inside].round()))
    chosen = order[:: max(len(order) // _PLACES, 1)]
    rows, columns = rows[chosen], columns[chosen]
    return [
        ((column + 0.5) * width / coarse[0], (row + 0.5) * height / coarse[1])
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
