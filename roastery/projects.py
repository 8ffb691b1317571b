"""What detectron2 and the projects beside it have that no Caffe2 net can hold: by name, why, and the way out.

Source: detectron2 0.6, projects/PointRend, projects/TensorMask, modeling/roi_heads/rotated_fast_rcnn.py,
modeling/proposal_generator/rrpn.py.
"""

_POINTS = (
    "PointRend samples features at points that it chooses (grid_sample), which Caffe2 has no operator for; train the "
    "model with the StandardROIHeads and the MaskRCNNConvUpsampleHead"
)
_TENSOR_MASK = (
    "TensorMask aligns its masks with SwapAlign2Nat, which Caffe2 has no operator for; train a Mask R-CNN instead"
)
_ROTATED = (
    "rotated boxes need the operator RoIAlignRotated and NMS of rotated boxes, which are not written here; train the "
    "model with axis-aligned boxes"
)
_ROI_POOL = "the operator RoIPool is not written here; use ROIAlignV2 or ROIAlign, as the model was trained"

PARTS: dict[str, str] = {
    **dict.fromkeys(("PointRendROIHeads", "PointRendMaskHead", "CoarseMaskHead", "ImplicitPointRendMaskHead"), _POINTS),
    **dict.fromkeys(("PointRendSemSegHead", "StandardPointHead", "ImplicitPointHead"), _POINTS),
    **dict.fromkeys(("TensorMask", "TensorMaskHead"), _TENSOR_MASK),
    **dict.fromkeys(("RRPN", "RROIHeads", "RotatedAnchorGenerator", "ROIAlignRotated"), _ROTATED),
    "ROIPool": _ROI_POOL,
}
"""Values of config keys."""

SECTIONS: dict[str, str] = {
    "MODEL.POINT_HEAD": _POINTS,
    "MODEL.IMPLICIT_POINTREND": _POINTS,
    "MODEL.TENSOR_MASK": _TENSOR_MASK,
}
"""Config sections that detectron2 itself does not have."""
