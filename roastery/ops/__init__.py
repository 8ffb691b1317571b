"""The detection operators of Caffe2. Importing this room defines them all."""

from roastery.ops.batch_permutation import batch_permutation
from roastery.ops.bbox_transform import bbox_transform
from roastery.ops.box_with_nms_limit import box_with_nms_limit
from roastery.ops.collect_rpn_proposals import collect_rpn_proposals
from roastery.ops.distribute_fpn_proposals import distribute_fpn_proposals
from roastery.ops.generate_proposals import generate_proposals
from roastery.ops.heatmap_max_keypoint import heatmap_max_keypoint
from roastery.ops.lengths_to_segment_ids import lengths_to_segment_ids
from roastery.ops.replace_nan import replace_nan
from roastery.ops.roi_align import roi_align
from roastery.ops.shape import shape
from roastery.ops.top_k import top_k

__all__ = [
    "batch_permutation",
    "bbox_transform",
    "box_with_nms_limit",
    "collect_rpn_proposals",
    "distribute_fpn_proposals",
    "generate_proposals",
    "heatmap_max_keypoint",
    "lengths_to_segment_ids",
    "replace_nan",
    "roi_align",
    "shape",
    "top_k",
]
