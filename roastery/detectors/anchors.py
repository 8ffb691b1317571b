"""Anchors: the boxes of one cell of each feature level.

Source: detectron2 0.5, DefaultAnchorGenerator (its offset shifts all anchors by a part of the stride).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.registries import ANCHOR_GENERATOR_REGISTRY
from roastery.errors import ConfigError


def cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float], shift: float = 0.0) -> Tensor:
    """Anchors around one cell, sizes outermost.

    Args:
        sizes: square roots of the areas, pixels.
        aspect_ratios: height / width.
        shift: pixels by which all anchors are moved right and down.

    Returns:
        (len(sizes) * len(aspect_ratios), 4) float32, xyxy, pixels relative to the cell's corner.
    """
    boxes = []
    for size in sizes:
        for ratio in aspect_ratios:
            width = math.sqrt(size**2.0 / ratio)
            height = ratio * width
            boxes.append([-width / 2.0, -height / 2.0, width / 2.0, height / 2.0])
    return torch.tensor(boxes, dtype=torch.float32) + shift


class AnchorGenerator(nn.Module):
    """The cell anchors of each level, as buffers that no checkpoint needs to hold.

    `cell_anchors[i]` is (A, 4) float32, xyxy pixels; `strides[i]` is the level's stride in pixels.
    """

    def __init__(self, anchors: Sequence[Tensor], strides: Sequence[int]) -> None:
        super().__init__()
        self.strides = list(strides)
        for level, boxes in enumerate(anchors):
            self.register_buffer(f"level_{level}", boxes, persistent=False)

    @property
    def cell_anchors(self) -> list[Tensor]:
        return [self.get_buffer(f"level_{level}") for level in range(len(self.strides))]

    @property
    def anchors_per_cell(self) -> int:
        return len(self.cell_anchors[0])


def build_anchor_generator(config: CfgNode, input_shape: Sequence[Any]) -> AnchorGenerator:
    """The generator that `config.MODEL.ANCHOR_GENERATOR` names, for levels of these shapes.

    Raises:
        ConfigError: there is no such generator, or it cannot be built.
    """
    name = config.MODEL.ANCHOR_GENERATOR.NAME
    built: AnchorGenerator = ANCHOR_GENERATOR_REGISTRY.look_up("MODEL.ANCHOR_GENERATOR.NAME", name)(config, input_shape)
    return built


@ANCHOR_GENERATOR_REGISTRY.register_as("DefaultAnchorGenerator")
def build_default_anchors(config: CfgNode, input_shape: Sequence[Any]) -> AnchorGenerator:
    """What detectron2 calls `DefaultAnchorGenerator`: sizes and aspect ratios of each level.

    Raises:
        ConfigError: a number of sizes that fits the levels no way.
    """
    node = config.MODEL.ANCHOR_GENERATOR
    strides = [spec.stride for spec in input_shape]
    sizes = _per_level(node.SIZES, len(strides), "MODEL.ANCHOR_GENERATOR.SIZES")
    ratios = _per_level(node.ASPECT_RATIOS, len(strides), "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS")
    anchors = [
        cell_anchors(level_sizes, level_ratios, node.OFFSET * stride)
        for level_sizes, level_ratios, stride in zip(sizes, ratios, strides, strict=True)
    ]
    if len({len(boxes) for boxes in anchors}) != 1:
        raise ConfigError(
            "MODEL.ANCHOR_GENERATOR: every level must have the same number of anchors, as one head serves all"
        )
    return AnchorGenerator(anchors, strides)


def _per_level(values: Sequence[Sequence[float]], levels: int, key: str) -> list[Sequence[float]]:
    if len(values) == 1:
        return list(values) * levels
    if len(values) != levels:
        raise ConfigError(f"{key}: {len(values)} entries for {levels} feature levels; give one, or one for each level")
    return list(values)
