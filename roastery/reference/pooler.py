"""Pooling from the level of a feature pyramid that fits a box's size.

Source: detectron2 0.5, modeling/poolers.py (assign_boxes_to_levels, ROIPooler); Lin et al. (arXiv:1612.03144), eq. 1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from yacs.config import CfgNode

from roastery.errors import ConfigError
from roastery.reference.roi_align import roi_align

CANONICAL_SIZE = 224
CANONICAL_LEVEL = 4


def assign_levels(boxes: Tensor, lowest: int, highest: int) -> Tensor:
    """The level of each box, (n,) int64 in [lowest, highest]: level k has stride 2^k."""
    sides = boxes[:, 2:] - boxes[:, :2]
    sizes = (sides[:, 0] * sides[:, 1]).sqrt()
    levels = torch.floor(CANONICAL_LEVEL + torch.log2(sizes / CANONICAL_SIZE + 1e-8))
    return levels.clamp(lowest, highest).to(torch.int64)


def pool(node: CfgNode, levels: Sequence[Tensor], strides: Sequence[int], boxes: Tensor) -> Tensor:
    """Pool the boxes of one image.

    Args:
        node: the head's config, with POOLER_TYPE, POOLER_RESOLUTION and POOLER_SAMPLING_RATIO.
        levels: for each level (H, W, C) float32, contiguous.
        strides: of each level, each twice the one before.
        boxes: (n, 4) xyxy pixels.

    Returns:
        (n, C, size, size) float32.

    Raises:
        ConfigError: another pooler than RoIAlign.
    """
    if node.POOLER_TYPE not in ("ROIAlign", "ROIAlignV2"):
        raise ConfigError(
            f"POOLER_TYPE: {node.POOLER_TYPE!r} is not known to the reference; use ROIAlignV2 or ROIAlign"
        )
    size, ratio, aligned = node.POOLER_RESOLUTION, node.POOLER_SAMPLING_RATIO, node.POOLER_TYPE == "ROIAlignV2"
    if len(levels) == 1:
        return roi_align(levels[0], boxes, size, 1.0 / strides[0], ratio, aligned)
    lowest, highest = int(math.log2(strides[0])), int(math.log2(strides[-1]))
    assigned = assign_levels(boxes, lowest, highest)
    pooled = boxes.new_zeros(len(boxes), levels[0].shape[2], size, size)
    for level, (cells, stride) in enumerate(zip(levels, strides, strict=True), start=lowest):
        members = (assigned == level).nonzero()[:, 0]
        if len(members):
            pooled[members] = roi_align(cells, boxes[members], size, 1.0 / stride, ratio, aligned)
    return pooled
