"""Areas of a picture: brought to its size, tinted, outlined."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from roastery.drawing.colours import Colour
from roastery.drawing.scale import Size, resized

Pixels = NDArray[np.uint8]
"""(H, W, 3), red, green, blue."""
Mask = NDArray[np.bool_]
"""(H, W)."""


@dataclass(frozen=True)
class Area:
    """The part of a mask that has something in it, and where in the picture that is."""

    rows: slice
    columns: slice
    inside: Mask


def coverage(mask: Mask, size: Size) -> Pixels:
    """How far each pixel of a picture of this size lies in the mask: (height, width), 0..255."""
    return np.asarray(resized(Image.fromarray(mask.astype(np.uint8) * np.uint8(255)), size))


def area_of(mask: Mask) -> Area | None:
    """A mask's area; None for one without a pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    across, along = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return Area(across, along, mask[across, along])


def tint(pixels: Pixels, area: Area, colour: Colour, strength: float) -> None:
    """Colour an area in place: 0 leaves it as it is, 1 covers it."""
    part = pixels[area.rows, area.columns]
    tinted = (1.0 - strength) * part[area.inside] + strength * np.array(colour, np.float32)
    part[area.inside] = tinted.round().astype(np.uint8)


def outline(pixels: Pixels, area: Area, colour: Colour, width: int) -> None:
    """Draw the inner edge of an area in place, this many pixels wide."""
    padded = np.pad(area.inside.astype(np.uint8), width)
    core = np.asarray(Image.fromarray(padded).filter(ImageFilter.MinFilter(2 * width + 1)))
    edge = area.inside & (core[width:-width, width:-width] == 0)
    pixels[area.rows, area.columns][edge] = colour
