"""Boxes from deltas, and their clipping.

Source: detectron2 0.5, modeling/box_regression.py (Box2BoxTransform.apply_deltas) and structures/boxes.py.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LARGEST_LOG_SCALE = math.log(1000.0 / 16)
"""A side grows at most from 16 to 1000 pixels."""


def decode(deltas: Tensor, boxes: Tensor, weights: Sequence[float]) -> Tensor:
    """Move and stretch boxes.

    Args:
        deltas: (n, k, 4): of the centre, in the box's sides, then logarithms of the sides' growth.
        boxes: (n, 4) xyxy pixels.
        weights: four numbers by which the deltas are divided.

    Returns:
        (n, k, 4) xyxy pixels, not clipped.
    """
    corner, opposite = boxes[:, None, :2], boxes[:, None, 2:]
    sides = opposite - corner
    centres = corner + 0.5 * sides
    deltas = deltas / torch.tensor(weights, dtype=deltas.dtype)
    centres = deltas[..., :2] * sides + centres
    halves = 0.5 * (deltas[..., 2:].clamp(max=LARGEST_LOG_SCALE).exp() * sides)
    return torch.cat([centres - halves, centres + halves], dim=-1)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) limited to an image of `size`, (height, width)."""
    height, width = size
    limits = torch.tensor([width, height, width, height], dtype=boxes.dtype)
    return boxes.clamp(min=0).minimum(limits)


def larger_than(boxes: Tensor, side: float) -> Tensor:
    """(n,) bool: both sides of (n, 4) boxes are longer than `side` pixels."""
    return ((boxes[:, 2:] - boxes[:, :2]) > side).all(dim=1)
