"""Anchors of a whole feature map, from the config.

Source: detectron2 0.5, modeling/anchor_generator.py (DefaultAnchorGenerator).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from yacs.config import CfgNode


def base_anchors(config: CfgNode, levels: int) -> list[Tensor]:
    """The anchors of each level around the origin: (A, 4) float32, xyxy pixels, for each size every aspect ratio."""
    node = config.MODEL.ANCHOR_GENERATOR
    sizes = _for_each_level(node.SIZES, levels)
    ratios = _for_each_level(node.ASPECT_RATIOS, levels)
    return [_around_origin(sizes[level], ratios[level]) for level in range(levels)]


def grid_anchors(base: Tensor, height: int, width: int, stride: int, offset: float) -> Tensor:
    """The anchors of a map of height x width cells: (height * width * A, 4), row by row, the A of a cell together."""
    x = torch.arange(width, dtype=torch.float32) * stride + offset * stride
    y = torch.arange(height, dtype=torch.float32) * stride + offset * stride
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack([columns, rows, columns, rows], dim=-1)
    return (shifts[:, :, None, :] + base).reshape(-1, 4)


def _around_origin(sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    areas = torch.tensor([float(size) ** 2 for size in sizes], dtype=torch.float64)[:, None]
    heights_to_widths = torch.tensor([float(ratio) for ratio in ratios], dtype=torch.float64)[None, :]
    widths = (areas / heights_to_widths).sqrt().reshape(-1)
    heights = widths * heights_to_widths.repeat(len(sizes), 1).reshape(-1)
    return torch.stack([-widths, -heights, widths, heights], dim=1).div(2).to(torch.float32)


def _for_each_level(values: Sequence[Sequence[float]], levels: int) -> list[Sequence[float]]:
    return list(values) * levels if len(values) == 1 else list(values)
