"""Pasting: a small map of each detection becomes a mask of the image's size.

Source: detectron2 0.5, layers/mask_ops.py (paste_masks_in_image), whose result this gives pixel by pixel.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MASK_THRESHOLD = 0.5
PIXELS_AT_ONCE = 1 << 20
"""Bounds the memory: the sampling grid and its result take 12 bytes a pixel."""


def paste_masks(
    masks: Tensor,
    boxes: Tensor,
    image_size: tuple[int, int],
    threshold: float = MASK_THRESHOLD,
    pixels_at_once: int = PIXELS_AT_ONCE,
) -> Tensor:
    """Stretch each map over its box, bilinearly, and threshold it.

    A map's value lies in the middle of its cell, a pixel's in the middle of the pixel, and outside the map is 0. A box
    may reach over the image's border.

    Args:
        masks: (n, S, S) floating point, 0..1.
        boxes: (n, 4) float32, xyxy, pixels of the image.
        image_size: (height, width).
        threshold: a pixel is set where the value is at least this.
        pixels_at_once: how many pixels are sampled together. The result does not depend on it.

    Returns:
        (n, height, width) bool.
    """
    if len(masks) != len(boxes):
        raise ValueError(f"{len(masks)} masks for {len(boxes)} boxes")
    height, width = image_size
    pasted = torch.zeros(len(masks), height, width, dtype=torch.bool)
    for mask, box, target in zip(masks, boxes, pasted, strict=True):
        # A pixel beside the box samples between the map's outermost cells and 0; one further out samples 0.
        left, top, right, bottom = _pixels_around(box, height, width)
        if left >= right or top >= bottom:
            continue
        columns = _positions(left, right, box[0], box[2])
        rows = max(1, pixels_at_once // (right - left))
        for start in range(top, bottom, rows):
            stop = min(start + rows, bottom)
            values = _sample(mask, _positions(start, stop, box[1], box[3]), columns)
            target[start:stop, left:right] = values >= threshold
    return pasted


def _pixels_around(box: Tensor, height: int, width: int) -> tuple[int, int, int, int]:
    """The pixels that a map over this box can reach: left, top, right, bottom, the last two exclusive."""
    x0, y0, x1, y1 = (float(value) for value in box)
    if not all(math.isfinite(value) for value in (x0, y0, x1, y1)):
        raise ValueError(f"a mask cannot be pasted into the box {(x0, y0, x1, y1)}")
    return (
        max(math.floor(x0) - 1, 0),
        max(math.floor(y0) - 1, 0),
        min(math.ceil(x1) + 1, width),
        min(math.ceil(y1) + 1, height),
    )


def _positions(start: int, stop: int, low: Tensor, high: Tensor) -> Tensor:
    """Where the pixels `start` to `stop` lie between `low` (-1) and `high` (1)."""
    pixels = torch.arange(start, stop, dtype=torch.float32) + 0.5
    return (pixels - low) / (high - low) * 2 - 1


def _sample(mask: Tensor, y: Tensor, x: Tensor) -> Tensor:
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).to(mask.dtype)
    values: Tensor = F.grid_sample(mask[None, None], grid[None], align_corners=False)
    return values[0, 0]
