"""Boxes, masks and keypoints over an image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from roastery.drawing.colours import INK, LIGHT, Colour
from roastery.drawing.labels import Corners, Labels
from roastery.drawing.masks import Mask, area_of, coverage, outline, tint
from roastery.drawing.scale import Pens, Size, pens, resized

_TINT = 0.4
_HALF = 127

Point = tuple[int, int]
"""The pixel of a picture: column, row."""


@dataclass(frozen=True)
class DrawnDetection:
    """A detection as it is drawn, in pixels of the image; (0, 0) is the outer corner of the first pixel.

    Attributes:
        text: its label.
        box: left, top, right, bottom.
        mask: (height, width) of the image.
        keypoints: (K, 2) or (K, 3) x, y and whatever else.
        bones: pairs of keypoints, by index, that are joined by a line.
    """

    text: str
    colour: Colour
    box: Corners
    mask: Mask | None = None
    keypoints: NDArray[np.floating] | None = None
    bones: Sequence[tuple[int, int]] = ()


def draw_detections(image: Image.Image, found: Sequence[DrawnDetection], size: Size) -> Image.Image:
    """A picture of this size (width, height): the RGB image with what was found in it.

    Args:
        found: the surest first. It lies over the others, and its label has the better place.
    """
    zoom = (size[0] / image.width, size[1] / image.height)
    pen = pens(size)
    pixels = np.array(resized(image, size))
    for detection in reversed(found):
        area = None if detection.mask is None else area_of(coverage(detection.mask, size) > _HALF)
        if area is not None:
            tint(pixels, area, detection.colour, _TINT)
            outline(pixels, area, detection.colour, pen.line)
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    boxes = [_box_pixels(detection.box, zoom, size) for detection in found]
    points = [_keypoint_pixels(detection, zoom, size) for detection in found]
    for detection, box, own in zip(reversed(found), reversed(boxes), reversed(points), strict=True):
        draw.rectangle(box, outline=detection.colour, width=pen.line)
        _draw_keypoints(draw, own, detection, pen)
    reach = pen.dot + 1
    dots = [(x - reach, y - reach, x + reach, y + reach) for own in points for x, y in filter(None, own)]
    labels = Labels(picture, pen, dots)
    for detection, box in zip(found, boxes, strict=True):
        labels.on_box(detection.text, detection.colour, box)
    return picture


def _draw_keypoints(
    draw: ImageDraw.ImageDraw, points: Sequence[Point | None], detection: DrawnDetection, pen: Pens
) -> None:
    """Points in the class's colour with a light rim, over lines with a dark one: seen on the tint and on any image."""
    ends = [(points[a], points[b]) for a, b in detection.bones if max(a, b) < len(points)]
    lines = [(start, end) for start, end in ends if start is not None and end is not None]
    for colour, width in ((INK, pen.line + 2), (detection.colour, pen.line)):
        for line in lines:
            draw.line(line, fill=colour, width=width)
    for x, y in filter(None, points):
        for colour, radius in ((INK, pen.dot + 1), (LIGHT, pen.dot), (detection.colour, pen.dot - pen.dot // 3)):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _keypoint_pixels(detection: DrawnDetection, zoom: tuple[float, float], size: Size) -> list[Point | None]:
    if detection.keypoints is None:
        return []
    return [_pixel(x, y, zoom, size) for x, y in detection.keypoints[:, :2].tolist()]


def _box_pixels(box: Corners, zoom: tuple[float, float], size: Size) -> tuple[int, int, int, int]:
    """The first and the last pixel that a box touches: one at the border of the image is seen whole."""
    left, top = _pixel(box[0], box[1], zoom, size) or (0, 0)
    right, bottom = _pixel(box[2], box[3], zoom, size, ends=True) or (0, 0)
    return left, top, max(right, left), max(bottom, top)


def _pixel(x: float, y: float, zoom: tuple[float, float], size: Size, ends: bool = False) -> Point | None:
    """The pixel of a picture in which a point of the image lies, or that `ends` there; None for one that is no number.

    What is far out of the picture is brought near it: Pillow counts in 32 bits.
    """
    if math.isnan(x) or math.isnan(y):
        return None
    near = [min(max(at * factor, -side), 2 * side) for at, factor, side in zip((x, y), zoom, size, strict=True)]
    column, row = (math.ceil(at) - 1 if ends else math.floor(at) for at in near)
    return column, row
