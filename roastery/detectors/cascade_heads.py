"""Cascade R-CNN's second stage: each box branch starts from the boxes of the one before.

Source: Cai and Vasconcelos, Cascade R-CNN (arXiv:1712.00726); detectron2 0.5, modeling/roi_heads/cascade_rcnn.py, for
names and order.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.backbone import ShapeSpec, levels
from roastery.detectors.box_head import build_box_branch
from roastery.detectors.poolers import RoIPooler, build_pooler
from roastery.detectors.registries import ROI_HEADS_REGISTRY
from roastery.detectors.roi_heads import (
    Selection,
    StandardRoIHeads,
    build_branches,
    build_selection,
    move_boxes,
)
from roastery.errors import ConfigError


class CascadeRoIHeads(StandardRoIHeads):
    """Box heads and predictors by stage: scores are the mean over the stages, boxes the last one's."""

    box_head: nn.ModuleList
    box_predictor: nn.ModuleList

    def __init__(
        self,
        in_features: list[str],
        selection: Selection,
        box_pooler: RoIPooler,
        box_heads: list[nn.Module],
        box_predictors: list[nn.Module],
        stage_weights: list[list[float]],
        mask_pooler: RoIPooler | None = None,
        mask_head: nn.Module | None = None,
        keypoint_pooler: RoIPooler | None = None,
        keypoint_head: nn.Module | None = None,
    ) -> None:
        """Build it of a box head, a predictor and weights of its deltas for each stage."""
        branches = (mask_pooler, mask_head, keypoint_pooler, keypoint_head)
        heads, predictors = nn.ModuleList(box_heads), nn.ModuleList(box_predictors)
        super().__init__(in_features, selection, box_pooler, heads, predictors, stage_weights[-1], *branches)
        self.stage_weights = stage_weights

    def predict(self, maps: list[Tensor], rois: Tensor, im_info: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sum_of_stages: Tensor | None = None
        for box_head, box_predictor, weights in zip(self.box_head, self.box_predictor, self.stage_weights, strict=True):
            logits, deltas = box_predictor(box_head(self.box_pooler(maps, rois)))
            probabilities = self.selection.probabilities(logits)
            sum_of_stages = probabilities if sum_of_stages is None else sum_of_stages + probabilities
            boxes, splits = move_boxes(rois, deltas, im_info, weights)
            rois = torch.cat([rois[:, :1], boxes], dim=1)
        assert sum_of_stages is not None
        return sum_of_stages * (1.0 / len(self.stage_weights)), boxes, splits


@ROI_HEADS_REGISTRY.register_as("CascadeROIHeads")
def build_cascade_heads(config: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> CascadeRoIHeads:
    """The heads that detectron2 calls `CascadeROIHeads`, without weights.

    Raises:
        ConfigError: boxes that are not class-agnostic, stages whose numbers do not fit, a part without a Caffe2 form.
    """
    roi_heads, box, cascade = config.MODEL.ROI_HEADS, config.MODEL.ROI_BOX_HEAD, config.MODEL.ROI_BOX_CASCADE_HEAD
    if not box.CLS_AGNOSTIC_BBOX_REG:
        raise ConfigError(
            "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG: a cascade moves one box for all classes; set it to True, as the "
            "model was trained"
        )
    weights = [[float(weight) for weight in stage] for stage in cascade.BBOX_REG_WEIGHTS]
    if not weights or len(weights) != len(cascade.IOUS):
        raise ConfigError(
            f"MODEL.ROI_BOX_CASCADE_HEAD: {len(weights)} BBOX_REG_WEIGHTS for {len(cascade.IOUS)} IOUS; give both for "
            "each stage"
        )
    channels, strides = levels(input_shape, roi_heads.IN_FEATURES, "MODEL.ROI_HEADS.IN_FEATURES")
    stages = [build_box_branch(config, channels, class_agnostic=True) for _ in weights]
    return CascadeRoIHeads(
        list(roi_heads.IN_FEATURES),
        build_selection(config),
        # A box of the stage before may have been cut to nothing at the image's border.
        build_pooler(box, "MODEL.ROI_BOX_HEAD", strides, empty_rois=True),
        [head for head, _ in stages],
        [predictor for _, predictor in stages],
        weights,
        *build_branches(config, channels, strides),
    )
