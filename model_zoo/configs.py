"""The 59 official configs of detectron2 0.5, each as the settings in which it differs from detectron2's defaults.

Source: detectron2 0.5, configs/ without its Base-*.yaml and quick_schedules. `tests/model_zoo/test_configs.py` holds
this table to those files where they are there.
"""

from collections.abc import Mapping, Sequence

from model_zoo.families import (
    C4,
    CASCADE,
    DC5,
    DEFORMABLE,
    DETECTRON1_BOX,
    FPN,
    KEYPOINT,
    MASK,
    PANOPTIC,
    R101,
    RETINANET,
    RPN_ALONE,
    X101,
    Settings,
    four_convolutions,
    lvis,
    normalised,
)

_VOC: Settings = {"MODEL.ROI_HEADS.NUM_CLASSES": 20, "DATASETS.TEST": ("voc_2007_test",)}
_GN: Settings = {**normalised("GN"), "MODEL.RESNETS.STRIDE_IN_1X1": False}
_STD: Settings = {"MODEL.PIXEL_STD": [57.375, 57.12, 58.395]}

_FOLDERS: Mapping[str, Mapping[str, Sequence[Settings]]] = {
    "COCO-Detection": {
        "fast_rcnn_R_50_FPN_1x": [
            FPN,
            {
                "MODEL.LOAD_PROPOSALS": True,
                "MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals",
                "DATASETS.PROPOSAL_FILES_TEST": (
                    "detectron2://COCO-Detection/rpn_R_50_FPN_1x/137258492/coco_2017_val_box_proposals_ee0dad.pkl",
                ),
            },
        ],
        "faster_rcnn_R_101_C4_3x": [C4, R101],
        "faster_rcnn_R_101_DC5_3x": [DC5, R101],
        "faster_rcnn_R_101_FPN_3x": [FPN, R101],
        "faster_rcnn_R_50_C4_1x": [C4],
        "faster_rcnn_R_50_C4_3x": [C4],
        "faster_rcnn_R_50_DC5_1x": [DC5],
        "faster_rcnn_R_50_DC5_3x": [DC5],
        "faster_rcnn_R_50_FPN_1x": [FPN],
        "faster_rcnn_R_50_FPN_3x": [FPN],
        "faster_rcnn_X_101_32x8d_FPN_3x": [FPN, X101],
        "retinanet_R_101_FPN_3x": [RETINANET, R101],
        "retinanet_R_50_FPN_1x": [RETINANET],
        "retinanet_R_50_FPN_3x": [RETINANET],
        "rpn_R_50_C4_1x": [C4, RPN_ALONE, {"MODEL.RPN.PRE_NMS_TOPK_TEST": 12000}],
        "rpn_R_50_FPN_1x": [FPN, RPN_ALONE],
    },
    "COCO-InstanceSegmentation": {
        "mask_rcnn_R_101_C4_3x": [C4, MASK, R101],
        "mask_rcnn_R_101_DC5_3x": [DC5, MASK, R101],
        "mask_rcnn_R_101_FPN_3x": [FPN, MASK, R101],
        "mask_rcnn_R_50_C4_1x": [C4, MASK],
        "mask_rcnn_R_50_C4_3x": [C4, MASK],
        "mask_rcnn_R_50_DC5_1x": [DC5, MASK],
        "mask_rcnn_R_50_DC5_3x": [DC5, MASK],
        "mask_rcnn_R_50_FPN_1x": [FPN, MASK],
        # The loss is of another kind; the model runs as the one above.
        "mask_rcnn_R_50_FPN_1x_giou": [FPN, MASK],
        "mask_rcnn_R_50_FPN_3x": [FPN, MASK],
        "mask_rcnn_X_101_32x8d_FPN_3x": [FPN, MASK, X101],
    },
    "COCO-Keypoints": {
        "keypoint_rcnn_R_101_FPN_3x": [FPN, KEYPOINT, R101],
        "keypoint_rcnn_R_50_FPN_1x": [FPN, KEYPOINT],
        "keypoint_rcnn_R_50_FPN_3x": [FPN, KEYPOINT],
        "keypoint_rcnn_X_101_32x8d_FPN_3x": [FPN, KEYPOINT, X101],
    },
    "COCO-PanopticSegmentation": {
        "panoptic_fpn_R_101_3x": [FPN, PANOPTIC, R101],
        "panoptic_fpn_R_50_1x": [FPN, PANOPTIC],
        "panoptic_fpn_R_50_3x": [FPN, PANOPTIC],
    },
    "Cityscapes": {
        "mask_rcnn_R_50_FPN": [
            FPN,
            MASK,
            {
                "MODEL.ROI_HEADS.NUM_CLASSES": 8,
                "INPUT.MIN_SIZE_TEST": 1024,
                "INPUT.MAX_SIZE_TEST": 2048,
                "DATASETS.TEST": ("cityscapes_fine_instance_seg_val",),
            },
        ],
    },
    "Detectron1-Comparisons": {
        "faster_rcnn_R_50_FPN_noaug_1x": [FPN, DETECTRON1_BOX],
        "keypoint_rcnn_R_50_FPN_1x": [
            FPN,
            KEYPOINT,
            DETECTRON1_BOX,
            {
                "MODEL.ROI_KEYPOINT_HEAD.POOLER_TYPE": "ROIAlign",
                "MODEL.ROI_KEYPOINT_HEAD.POOLER_SAMPLING_RATIO": 2,
            },
        ],
        "mask_rcnn_R_50_FPN_noaug_1x": [
            FPN,
            MASK,
            DETECTRON1_BOX,
            {"MODEL.ROI_MASK_HEAD.POOLER_TYPE": "ROIAlign", "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": 2},
        ],
    },
    "LVISv0.5-InstanceSegmentation": {
        "mask_rcnn_R_101_FPN_1x": [FPN, lvis("v0.5", 1230), R101],
        "mask_rcnn_R_50_FPN_1x": [FPN, lvis("v0.5", 1230)],
        "mask_rcnn_X_101_32x8d_FPN_1x": [FPN, lvis("v0.5", 1230), X101],
    },
    "LVISv1-InstanceSegmentation": {
        "mask_rcnn_R_101_FPN_1x": [FPN, lvis("v1", 1203), R101],
        "mask_rcnn_R_50_FPN_1x": [FPN, lvis("v1", 1203)],
        "mask_rcnn_X_101_32x8d_FPN_1x": [FPN, lvis("v1", 1203), X101],
    },
    "Misc": {
        "cascade_mask_rcnn_R_50_FPN_1x": [FPN, MASK, CASCADE],
        "cascade_mask_rcnn_R_50_FPN_3x": [FPN, MASK, CASCADE],
        "cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv": [
            FPN,
            MASK,
            X101,
            CASCADE,
            DEFORMABLE,
            four_convolutions("GN"),
            {"MODEL.RESNETS.DEPTH": 152, "MODEL.ROI_MASK_HEAD.NUM_CONV": 8, "MODEL.PIXEL_STD": [1.0, 1.0, 1.0]},
        ],
        "mask_rcnn_R_50_FPN_1x_cls_agnostic": [
            FPN,
            MASK,
            {"MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True, "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": True},
        ],
        "mask_rcnn_R_50_FPN_1x_dconv_c3-c5": [FPN, MASK, DEFORMABLE],
        "mask_rcnn_R_50_FPN_3x_dconv_c3-c5": [FPN, MASK, DEFORMABLE],
        "mask_rcnn_R_50_FPN_3x_gn": [FPN, MASK, _GN],
        "mask_rcnn_R_50_FPN_3x_syncbn": [FPN, MASK, normalised("SyncBN")],
        "panoptic_fpn_R_101_dconv_cascade_gn_3x": [
            FPN,
            PANOPTIC,
            R101,
            CASCADE,
            DEFORMABLE,
            {
                "MODEL.RESNETS.NORM": "GN",
                "MODEL.RESNETS.STRIDE_IN_1X1": False,
                "MODEL.FPN.NORM": "GN",
                "MODEL.ROI_MASK_HEAD.NORM": "GN",
            },
        ],
        "scratch_mask_rcnn_R_50_FPN_3x_gn": [FPN, MASK, _GN],
        "scratch_mask_rcnn_R_50_FPN_9x_gn": [FPN, MASK, _GN, _STD],
        "scratch_mask_rcnn_R_50_FPN_9x_syncbn": [
            FPN,
            MASK,
            normalised("SyncBN"),
            _STD,
            {"MODEL.RESNETS.STRIDE_IN_1X1": False},
        ],
        "semantic_R_50_FPN_1x": [
            FPN,
            {
                "MODEL.META_ARCHITECTURE": "SemanticSegmentor",
                "DATASETS.TEST": ("coco_2017_val_panoptic_stuffonly",),
            },
        ],
    },
    "PascalVOC-Detection": {
        "faster_rcnn_R_50_C4": [C4, _VOC],
        "faster_rcnn_R_50_FPN": [FPN, _VOC],
    },
}


def _merged(parts: Sequence[Settings]) -> Settings:
    """Settings over settings, the later ones last."""
    whole: Settings = {}
    for part in parts:
        whole |= part
    return dict(sorted(whole.items()))


CONFIGS: Mapping[str, Settings] = {
    f"{folder}/{name}.yaml": _merged(parts) for folder, rows in _FOLDERS.items() for name, parts in rows.items()
}
"""The name that detectron2's users type, to what the config sets."""


def as_overrides(settings: Settings) -> list[str]:
    """Settings as KEY VALUE pairs over a config."""
    return [text for key, value in settings.items() for text in (key, value if isinstance(value, str) else repr(value))]
