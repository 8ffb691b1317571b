"""detectron2's second stages over one image: boxes with scores of proposals, and what masks and keypoints are made of.

Source: detectron2 0.5, modeling/roi_heads/roi_heads.py (StandardROIHeads, Res5ROIHeads) and cascade_rcnn.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from roastery.detectors.cascade_heads import CascadeRoIHeads
from roastery.detectors.res5_heads import Res5RoIHeads
from roastery.detectors.roi_heads import RoIHeads
from roastery.reference.boxes import clip, decode
from roastery.reference.pooler import pool


@dataclass(frozen=True)
class Levels:
    """The feature maps of one image that the heads take.

    Attributes:
        maps: for each level (H, W, C) float32, contiguous.
        strides: of each, in pixels.
        size: height and width of the image without its padding.
    """

    maps: Sequence[Tensor]
    strides: Sequence[int]
    size: tuple[int, int]

    def pooled(self, node: CfgNode, boxes: Tensor) -> Tensor:
        """Boxes (n, 4) pooled as a head's config says."""
        return pool(node, self.maps, self.strides, boxes)


class StandardHeads:
    """StandardROIHeads: each branch pools for itself."""

    def __init__(self, config: CfgNode, heads: Any) -> None:
        self.model = config.MODEL
        self.heads = heads

    def predict(self, levels: Levels, proposals: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (n, classes or 1, 4), not clipped, and probabilities (n, classes + 1) of proposals (n, 4)."""
        node = self.model.ROI_BOX_HEAD
        logits, deltas = self.heads.box_predictor(self.heads.box_head(levels.pooled(node, proposals)))
        return self.moved(proposals, deltas, node.BBOX_REG_WEIGHTS), self.probabilities(logits)

    def mask_features(self, levels: Levels, boxes: Tensor) -> Tensor:
        """What the mask head takes of detections (n, 4)."""
        return levels.pooled(self.model.ROI_MASK_HEAD, boxes)

    def keypoint_features(self, levels: Levels, boxes: Tensor) -> Tensor:
        """What the keypoint head takes of detections (n, 4)."""
        return levels.pooled(self.model.ROI_KEYPOINT_HEAD, boxes)

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.model.ROI_BOX_HEAD.USE_SIGMOID_CE else torch.softmax(logits, dim=-1)

    @staticmethod
    def moved(boxes: Tensor, deltas: Tensor, weights: Sequence[float]) -> Tensor:
        return decode(deltas.reshape(len(deltas), deltas.shape[1] // 4, 4), boxes, weights)


class CascadeHeads(StandardHeads):
    """CascadeROIHeads: each stage starts from the boxes of the one before, clipped to the image."""

    def predict(self, levels: Levels, proposals: Tensor) -> tuple[Tensor, Tensor]:
        scores, boxes = [], proposals[:, None]
        stages = zip(self.heads.box_head, self.heads.box_predictor, strict=True)
        for stage, (head, predictor) in enumerate(stages):
            starts = clip(boxes[:, 0], levels.size) if stage else proposals
            logits, deltas = predictor(head(levels.pooled(self.model.ROI_BOX_HEAD, starts)))
            scores.append(self.probabilities(logits))
            boxes = self.moved(starts, deltas, self.model.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS[stage])
        return boxes, torch.stack(scores).mean(dim=0)


class Res5Heads(StandardHeads):
    """Res5ROIHeads: one pooler, and res5 over what it gives."""

    def predict(self, levels: Levels, proposals: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = self.heads.box_predictor(self.mask_features(levels, proposals).mean(dim=(2, 3)))
        return self.moved(proposals, deltas, self.model.ROI_BOX_HEAD.BBOX_REG_WEIGHTS), self.probabilities(logits)

    def mask_features(self, levels: Levels, boxes: Tensor) -> Tensor:
        features: Tensor = self.heads.res5(levels.pooled(self.model.ROI_BOX_HEAD, boxes))
        return features


def reference_heads(config: CfgNode, heads: RoIHeads) -> StandardHeads:
    """detectron2's inference over the modules of a detector's heads."""
    if isinstance(heads, CascadeRoIHeads):
        return CascadeHeads(config, heads)
    return (Res5Heads if isinstance(heads, Res5RoIHeads) else StandardHeads)(config, heads)
