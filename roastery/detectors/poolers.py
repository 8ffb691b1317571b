"""RoI pooling over feature levels, by Caffe2's operators."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.known import require_known
from roastery.errors import ConfigError
from roastery.ops import batch_permutation, distribute_fpn_proposals, replace_nan, roi_align

CANONICAL_BOX_SIZE = 224
CANONICAL_LEVEL = 4
# detectron2's pooler types, and Caffe2's argument of RoIAlign.
_ALIGNED = {"ROIAlignV2": True, "ROIAlign": False}


class RoIPooler(nn.Module):
    """RoIAlign on the level that fits each box's size.

    `scales` are the levels' sizes relative to the image (1 / stride), each half of the one before. With `empty_rois`,
    RoIs may have no width or height; their features are 0, as in detectron2.
    """

    def __init__(
        self, output_size: int, scales: Sequence[float], sampling_ratio: int, aligned: bool, empty_rois: bool
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.scales = list(scales)
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        # Where the samples are as many as cells, Caffe2 divides by their number, which is 0 in an empty RoI: what NaN
        # comes to in a head is its own, and HeatmapMaxKeypoint crashes of it.
        self.gives_nan = empty_rois and aligned and sampling_ratio <= 0
        self.canonical_box_size = CANONICAL_BOX_SIZE
        self.canonical_level = CANONICAL_LEVEL
        self.min_level = int(-math.log2(self.scales[0]))
        self.max_level = int(-math.log2(self.scales[-1]))

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Features of each level and rois, (n, 5) with a batch index or (n, 4), to (n, C, size, size)."""
        pooled = self._pool(features, rois)
        return replace_nan(pooled) if self.gives_nan else pooled

    def _pool(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        if len(features) == 1:
            return self._align(features[0], rois, self.scales[0])
        *level_rois, restore = distribute_fpn_proposals(
            rois,
            roi_canonical_scale=self.canonical_box_size,
            roi_canonical_level=self.canonical_level,
            roi_max_level=self.max_level,
            roi_min_level=self.min_level,
            legacy_plus_one=False,
        )
        pooled = [
            self._align(feature, boxes, scale)
            for feature, boxes, scale in zip(features, level_rois, self.scales, strict=True)
        ]
        restored: Tensor = batch_permutation(torch.cat(pooled, dim=0), restore)
        return restored

    def _align(self, feature: Tensor, rois: Tensor, scale: float) -> Tensor:
        aligned: Tensor = roi_align(
            feature,
            rois,
            order="NCHW",
            spatial_scale=scale,
            pooled_h=self.output_size,
            pooled_w=self.output_size,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
        )
        return aligned


def build_pooler(node: CfgNode, key: str, strides: Sequence[int], *, empty_rois: bool) -> RoIPooler:
    """The pooler of a head: `node` is its config (MODEL.ROI_BOX_HEAD, ...), `key` its name for errors.

    `empty_rois` says whether RoIs may have no width or height: proposals have some, detections may have been cut to
    none at the border of the image.

    Raises:
        ConfigError: a pooler without a Caffe2 form.
    """
    require_known(f"{key}.POOLER_TYPE", node.POOLER_TYPE, _ALIGNED)
    if any(upper != 2 * lower for lower, upper in pairwise(strides)):
        raise ConfigError(
            f"{key}: pools from levels of strides {list(strides)}; MODEL.ROI_HEADS.IN_FEATURES must name levels whose "
            "strides double"
        )
    aligned = _ALIGNED[node.POOLER_TYPE]
    scales = [1.0 / stride for stride in strides]
    return RoIPooler(node.POOLER_RESOLUTION, scales, node.POOLER_SAMPLING_RATIO, aligned, empty_rois)
