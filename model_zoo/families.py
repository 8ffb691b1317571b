"""What the configs of a family have in common: the settings in which they differ from detectron2's defaults.

Source: detectron2 0.5, configs/Base-*.yaml and the configs named in `configs.py`. Only what matters when a model is
run: nothing of how it was trained.
"""

from typing import Any

Settings = dict[str, Any]
"""Full key to value, as in MODEL.RESNETS.DEPTH: 50."""

_STANDARD_HEADS: Settings = {
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 4,
}

COCO: Settings = {"DATASETS.TEST": ("coco_2017_val",)}

FPN: Settings = {
    **COCO,
    **_STANDARD_HEADS,
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
}
# detectron2's defaults are those of a C4.
C4: Settings = {**COCO}
DC5: Settings = {
    **COCO,
    **_STANDARD_HEADS,
    "MODEL.RESNETS.OUT_FEATURES": ["res5"],
    "MODEL.RESNETS.RES5_DILATION": 2,
    "MODEL.RPN.IN_FEATURES": ["res5"],
    "MODEL.ROI_HEADS.IN_FEATURES": ["res5"],
}
RETINANET: Settings = {
    **COCO,
    "MODEL.META_ARCHITECTURE": "RetinaNet",
    "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.ANCHOR_GENERATOR.SIZES": [
        [size, size * 2 ** (1.0 / 3), size * 2 ** (2.0 / 3)] for size in (32, 64, 128, 256, 512)
    ],
}

R101: Settings = {"MODEL.RESNETS.DEPTH": 101}
X101: Settings = {
    **R101,
    "MODEL.RESNETS.NUM_GROUPS": 32,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 8,
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.PIXEL_STD": [57.375, 57.12, 58.395],
}
DEFORMABLE: Settings = {"MODEL.RESNETS.DEFORM_ON_PER_STAGE": [False, True, True, True]}

MASK: Settings = {"MODEL.MASK_ON": True}
KEYPOINT: Settings = {
    "MODEL.KEYPOINT_ON": True,
    "MODEL.ROI_HEADS.NUM_CLASSES": 1,
    "DATASETS.TEST": ("keypoints_coco_2017_val",),
}
PANOPTIC: Settings = {
    **MASK,
    "MODEL.META_ARCHITECTURE": "PanopticFPN",
    "DATASETS.TEST": ("coco_2017_val_panoptic_separated",),
}
RPN_ALONE: Settings = {"MODEL.META_ARCHITECTURE": "ProposalNetwork", "MODEL.RPN.POST_NMS_TOPK_TEST": 2000}
CASCADE: Settings = {"MODEL.ROI_HEADS.NAME": "CascadeROIHeads", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True}
# Detectron's own pooling: corners of cells, and two points a bin.
DETECTRON1_BOX: Settings = {
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlign",
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2,
}


def four_convolutions(norm: str) -> Settings:
    """A box head of four convolutions and one layer, and heads of this norm."""
    return {
        "MODEL.ROI_BOX_HEAD.NUM_CONV": 4,
        "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
        "MODEL.ROI_BOX_HEAD.NORM": norm,
        "MODEL.ROI_MASK_HEAD.NORM": norm,
    }


def normalised(norm: str) -> Settings:
    """Norms of this kind everywhere, in place of fixed statistics."""
    return {**four_convolutions(norm), "MODEL.RESNETS.NORM": norm, "MODEL.FPN.NORM": norm}


def lvis(version: str, classes: int) -> Settings:
    """Masks of LVIS: many classes, a low threshold, 300 detections."""
    return {
        **MASK,
        "MODEL.ROI_HEADS.NUM_CLASSES": classes,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0001,
        "TEST.DETECTIONS_PER_IMAGE": 300,
        "DATASETS.TEST": (f"lvis_{version}_val",),
    }
