"""How large a picture is, and how thick its lines and letters are: readable at 160 pixels and at 2000."""

from dataclasses import dataclass
from functools import cached_property

from PIL import Image, ImageFont

READABLE_SIDE = 480
"""Pixels of the longer side under which an image is enlarged: labels need room."""

Size = tuple[int, int]
"""Width and height, pixels."""


@dataclass(frozen=True)
class Pens:
    """What a picture is drawn with.

    Attributes:
        line: width of an outline, pixels.
        dot: radius of a keypoint, pixels.
        font_size: height of a line of text, pixels.
    """

    line: int
    dot: int
    font_size: int

    @cached_property
    def font(self) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
        return ImageFont.load_default(self.font_size)


def pens(size: Size) -> Pens:
    """The pens for a picture of this size."""
    side = max(size)
    return Pens(line=max(2, round(side / 400)), dot=max(3, round(side / 160)), font_size=max(14, round(side / 60)))


def readable_size(size: Size) -> Size:
    """An image's size, enlarged where its longer side is under `READABLE_SIDE`."""
    return fitted_size(size, max(READABLE_SIDE, *size))


def fitted_size(size: Size, side: int) -> Size:
    """The size of the same shape whose longer side is `side`; no side is less than a pixel."""
    zoom = side / max(size)
    return max(round(size[0] * zoom), 1), max(round(size[1] * zoom), 1)


def resized(image: Image.Image, size: Size) -> Image.Image:
    """The image at another size; the image itself where it has that size."""
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
