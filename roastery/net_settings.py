"""What a net says of itself in its arguments, as postprocessing takes it."""

import math
from itertools import count

import torch

from roastery.errors import ModelFileError
from roastery.net_arguments import NetArguments, argument_of
from roastery.postprocess.panoptic import PanopticSettings
from roastery.postprocess.retinanet import RetinaNetSettings

_PICKLED_ANCHORS = "serialized_anchor_generator"


def panoptic_settings(net: NetArguments) -> PanopticSettings | None:
    """How the segments of a PanopticFPN are merged; None for another architecture.

    Raises:
        ModelFileError: an argument of another type, or a threshold that is none.
    """
    if argument_of(net, "meta_architecture", "") != "PanopticFPN":
        return None
    usual = PanopticSettings()
    return PanopticSettings(
        _finite(net, "combine_overlap_threshold", usual.overlap_threshold),
        argument_of(net, "combine_stuff_area_limit", usual.stuff_area_limit),
        _finite(net, "combine_instances_confidence_threshold", usual.confidence_threshold),
    )


def retinanet_settings(net: NetArguments) -> RetinaNetSettings | None:
    """How the raw maps of a RetinaNet are decoded; None for another architecture.

    Raises:
        ModelFileError: a net without its anchors as numbers, with ones that do not fit together, or with an argument
            that is no number to calculate with.
    """
    if argument_of(net, "meta_architecture", "") != "RetinaNet":
        return None
    names = set(net)
    if _PICKLED_ANCHORS in names and "anchor_strides" not in names:
        raise ModelFileError(
            f"the net holds its anchors as a pickle ({_PICKLED_ANCHORS}), which could execute and is not read; "
            "convert the model with roastery"
        )
    levels = next(level for level in count() if f"cell_anchors_{level}" not in names)
    strides = argument_of(net, "anchor_strides", [0])
    flat = [argument_of(net, f"cell_anchors_{level}", [0.0]) for level in range(levels)]
    weights = argument_of(net, "bbox_reg_weights", [1.0] * 4)
    if levels == 0 or len(strides) != levels or any(not boxes or len(boxes) % 4 for boxes in flat):
        raise ModelFileError(
            f"the net has anchors of {levels} levels for {len(strides)} strides, or not four numbers for each; "
            "convert the model again"
        )
    if len(weights) != 4 or not all(0 < weight < math.inf for weight in weights) or min(strides) < 1:
        raise ModelFileError(
            "the net's bbox_reg_weights are not four positive numbers, or its anchor_strides not positive; "
            "convert it again"
        )
    if not all(math.isfinite(number) for boxes in flat for number in boxes):
        raise ModelFileError("the net's cell_anchors are not finite; convert it again")
    return RetinaNetSettings(
        score_threshold=_finite(net, "score_threshold", 0.05),
        topk_candidates=max(argument_of(net, "topk_candidates", 1000), 0),
        nms_threshold=_finite(net, "nms_threshold", 0.5),
        max_detections_per_image=argument_of(net, "max_detections_per_image", 100),
        box_weights=weights,
        strides=[float(stride) for stride in strides],
        cell_anchors=[torch.tensor(boxes).reshape(-1, 4) for boxes in flat],
    )


def _finite(net: NetArguments, name: str, default: float) -> float:
    value = argument_of(net, name, default)
    if not math.isfinite(value):
        raise ModelFileError(f"the net argument {name!r} is {value}, not finite; convert the model again")
    return value
