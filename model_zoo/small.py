"""A config made small enough for a test: its own depth and heads, few channels, few pixels.

What is kept is what makes it that config: blocks, strides, groups, norms, levels, anchors, poolers, heads and classes.
"""

from model_zoo.families import Settings

_CHANNELS = 8
# A group of GroupNorm has at least a channel, and detectron2 makes 32 groups.
_GROUPED = 32


def small(settings: Settings) -> Settings:
    """The settings with few channels, and with as many proposals and detections as small images are worth."""
    groups = settings.get("MODEL.RESNETS.NUM_GROUPS", 1)
    backbone = _width(settings.get("MODEL.RESNETS.NORM", ""))
    pyramid = max(_width(settings.get("MODEL.FPN.NORM", "")), 2 * _CHANNELS)
    return settings | {
        "MODEL.DEVICE": "cpu",
        "MODEL.RESNETS.STEM_OUT_CHANNELS": backbone,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 2 * backbone,
        "MODEL.RESNETS.WIDTH_PER_GROUP": backbone if groups == 1 else 1,
        "MODEL.FPN.OUT_CHANNELS": pyramid,
        "MODEL.ROI_BOX_HEAD.CONV_DIM": _width(settings.get("MODEL.ROI_BOX_HEAD.NORM", "")),
        "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
        "MODEL.ROI_MASK_HEAD.CONV_DIM": _width(settings.get("MODEL.ROI_MASK_HEAD.NORM", "")),
        "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": (_CHANNELS,) * 8,
        "MODEL.SEM_SEG_HEAD.CONVS_DIM": _GROUPED,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": 40,
        "MODEL.RPN.POST_NMS_TOPK_TEST": 16,
        "MODEL.RETINANET.TOPK_CANDIDATES_TEST": 20,
        "TEST.DETECTIONS_PER_IMAGE": 12,
    }


def _width(norm: str) -> int:
    return _GROUPED if norm == "GN" else _CHANNELS
