"""What of detectron2's inference a net does by its own operators, by the class whose methods they are.

A live module is handled as the most special of these classes that it is an instance of. A subclass may change what is
traced: a backbone, the layers of a head. One that changes a step which is replaced would be changed back by the
conversion without a word, so it is refused, by the name of the method.

Source: detectron2 0.5, 0.6 and its head of June 2026, modeling/.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from roastery.errors import UnsupportedModule
from roastery.sources.live.importing import detectron2

_ONE_STAGE = (
    *("forward", "forward_inference", "inference", "inference_single_image", "preprocess_image"),
    *("_decode_per_level_predictions", "_decode_multi_level_predictions", "_transpose_dense_predictions"),
)
_TWO_STAGES = ("forward", "inference", "preprocess_image", "_postprocess")
_HEADS = ("forward", "forward_with_given_boxes", "_forward_box", "_forward_mask", "_forward_keypoint")

REPLACED: Mapping[str, tuple[str, Sequence[str]]] = {
    "PanopticFPN": ("modeling.meta_arch.panoptic_fpn", _TWO_STAGES),
    "GeneralizedRCNN": ("modeling.meta_arch.rcnn", _TWO_STAGES),
    "ProposalNetwork": ("modeling.meta_arch.rcnn", ("forward",)),
    "RetinaNet": ("modeling.meta_arch.retinanet", _ONE_STAGE),
    "SemanticSegmentor": ("modeling.meta_arch.semantic_seg", ("forward",)),
    "RPN": ("modeling.proposal_generator.rpn", ("forward", "predict_proposals", "_decode_proposals")),
    "DefaultAnchorGenerator": ("modeling.anchor_generator", ("forward", "_grid_anchors")),
    "CascadeROIHeads": (
        "modeling.roi_heads.cascade_rcnn",
        (*_HEADS, "_run_stage", "_create_proposals_from_boxes"),
    ),
    "StandardROIHeads": ("modeling.roi_heads.roi_heads", _HEADS),
    "Res5ROIHeads": (
        "modeling.roi_heads.roi_heads",
        ("forward", "forward_with_given_boxes", "_shared_roi_transform"),
    ),
    "FastRCNNOutputLayers": (
        "modeling.roi_heads.fast_rcnn",
        ("inference", "predict_boxes", "predict_probs"),
    ),
    "BaseMaskRCNNHead": ("modeling.roi_heads.mask_head", ("forward",)),
    "BaseKeypointRCNNHead": ("modeling.roi_heads.keypoint_head", ("forward",)),
    "ROIPooler": ("modeling.poolers", ("forward",)),
    "Box2BoxTransform": ("modeling.box_regression", ("apply_deltas",)),
}
"""detectron2's class: the module that it is defined in, and its methods that a net does by its own operators."""


def kind_of(module: Any, place: str, kinds: Sequence[str]) -> str:
    """Which of these classes of detectron2 a live module is, the first of them that it is an instance of.

    Args:
        place: the module's path in the model, for the error; "" for the model itself.
        kinds: names in `REPLACED`, the most special first.

    Raises:
        UnsupportedModule: it is none of them, or overrides a method that is replaced.
    """
    for kind in kinds:
        source, methods = REPLACED[kind]
        known = getattr(detectron2(source), kind)
        if isinstance(module, known):
            _refuse_overrides(module, place, known, methods)
            return kind
    raise UnsupportedModule(
        f"{_named(module, place)} is none of detectron2's {', '.join(kinds)}, whose steps a net has operators for; "
        "derive it from one of them"
    )


def _refuse_overrides(module: Any, place: str, known: type, methods: Sequence[str]) -> None:
    for method in methods:
        if not hasattr(known, method):
            continue
        own = vars(module).get(method) if isinstance(module, nn.Module) else None
        if own is not None or getattr(type(module), method) is not getattr(known, method):
            raise UnsupportedModule(
                f"{_named(module, place)} overrides {known.__name__}.{method}, which a net replaces by operators of "
                "its own, so that the override would be lost; move what it does into a layer, or train without it"
            )


def _named(module: Any, place: str) -> str:
    return f"{place or 'the model'} ({type(module).__module__}.{type(module).__qualname__})"
