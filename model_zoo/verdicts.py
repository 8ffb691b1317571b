"""What each config of the zoo comes to: it converts, or is refused, and in which words.

The tests hold every verdict: `tests/model_zoo/test_conversions.py` converts what is not refused here, and asks for each
refusal.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase

_BACKBONE = (
    "MODEL.BACKBONE.NAME: 'build_resnet_backbone' is not known; "
    "use one of build_resnet_fpn_backbone, build_retinanet_resnet_fpn_backbone"
)
_ARCHITECTURE = "MODEL.META_ARCHITECTURE: '{}' cannot be converted; use one of GeneralizedRCNN, PanopticFPN, RetinaNet"
_DEFORMABLE = (
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE: Caffe2 has no CPU kernel for deformable convolution (DeformConv); "
    "train the model without it"
)

_REFUSED: Mapping[str, str] = {
    "Misc/*dconv*": _DEFORMABLE,
    # Not yet.
    "*_C4*": _BACKBONE,
    "*_DC5_*": _BACKBONE,
    "COCO-Detection/rpn_R_50_FPN_1x.yaml": _ARCHITECTURE.format("ProposalNetwork"),
    "COCO-Detection/rpn_R_50_C4_1x.yaml": _ARCHITECTURE.format("ProposalNetwork"),
    "COCO-Detection/fast_rcnn_*": ("MODEL.LOAD_PROPOSALS: precomputed proposals cannot be converted; set it to False"),
    "Misc/semantic_*": _ARCHITECTURE.format("SemanticSegmentor"),
    "Misc/cascade_mask_rcnn_R_50_*": (
        "MODEL.ROI_HEADS.NAME: 'CascadeROIHeads' has no Caffe2 form here; use StandardROIHeads"
    ),
}
"""Glob over names, to the line that refuses the configs; the last that fits holds."""


def refusal(name: str) -> str | None:
    """The line in which a config of the zoo is refused; None where it converts."""
    lines = [line for pattern, line in _REFUSED.items() if fnmatchcase(name, pattern)]
    return lines[-1] if lines else None
