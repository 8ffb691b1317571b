"""What detectron2 can build and none of its official configs asks for, as models beside those of the zoo."""

from collections.abc import Mapping

from model_zoo.configs import CONFIGS
from model_zoo.families import CASCADE, DC5, FPN, KEYPOINT, MASK, RPN_ALONE, Settings

_BASIC: Settings = {"MODEL.RESNETS.RES2_OUT_CHANNELS": 64}

VARIANTS: Mapping[str, Settings] = {
    "variant: R-18, levels fused by their mean, two pooled, independent classes": {
        **FPN,
        **_BASIC,
        "MODEL.RESNETS.DEPTH": 18,
        "MODEL.FPN.FUSE_TYPE": "avg",
        "MODEL.ROI_HEADS.IN_FEATURES": ["p3", "p4"],
        "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": True,
    },
    "variant: R-34 of batch norms, five levels pooled, three points a bin": {
        **FPN,
        **MASK,
        **_BASIC,
        "MODEL.RESNETS.DEPTH": 34,
        "MODEL.RESNETS.NORM": "BN",
        "MODEL.FPN.NORM": "BN",
        "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
        "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 3,
    },
    "variant: one level pooled, from the corners of its cells": {
        **FPN,
        "MODEL.ROI_HEADS.IN_FEATURES": ["p3"],
        "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlign",
    },
    "variant: an RPN alone over R-152 DC5, strides in 3x3": {
        **DC5,
        **RPN_ALONE,
        "MODEL.RESNETS.DEPTH": 152,
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
    },
    "variant: a cascade with keypoints over given proposals": {
        **FPN,
        **CASCADE,
        **KEYPOINT,
        "MODEL.LOAD_PROPOSALS": True,
        "MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals",
    },
}
"""What it is, and its settings."""

MODELS: Mapping[str, Settings] = {**CONFIGS, **VARIANTS}
"""The zoo's configs and the variants."""
