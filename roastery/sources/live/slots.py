"""A detector whose slots hold the modules of a live detectron2 model.

Backbone, heads and predictors are the model's own and are traced as they are. What a net does by operators (proposals,
pooling, selection) is ours, with the model's own numbers: anchors, thresholds, resolutions.

Source: detectron2 0.5, 0.6 and its head of June 2026, modeling/, for where a model keeps them.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from roastery.detectors.anchors import AnchorGenerator
from roastery.detectors.cascade_heads import CascadeRoIHeads
from roastery.detectors.detector import Detector
from roastery.detectors.generalized_rcnn import GeneralizedRCNN
from roastery.detectors.panoptic_fpn import PanopticFPN
from roastery.detectors.poolers import RoIPooler
from roastery.detectors.proposal_network import ProposalNetwork
from roastery.detectors.res5_heads import Res5RoIHeads
from roastery.detectors.retinanet import RetinaNet
from roastery.detectors.retinanet_decoder import RetinaNetDecoder
from roastery.detectors.roi_heads import RoIHeads, Selection, StandardRoIHeads
from roastery.detectors.rpn import RPN
from roastery.detectors.semantic_segmentor import SemanticSegmentor
from roastery.errors import UnsupportedModule
from roastery.sources.live.replaced import kind_of

META_ARCHITECTURES = ("PanopticFPN", "GeneralizedRCNN", "ProposalNetwork", "RetinaNet", "SemanticSegmentor")
_HEADS = ("CascadeROIHeads", "StandardROIHeads", "Res5ROIHeads")
# Caffe2's BBoxTransform and GenerateProposals hold a side's growth below this; detectron2's transform has it settable.
_SCALE_CLAMP = math.log(1000.0 / 16)


def detector_of(model: Any, decode: bool = False) -> Detector:
    """The deployable detector of a live model, which shares its modules; in eval mode if they are.

    Args:
        model: on the CPU.
        decode: whether a RetinaNet gives detections instead of the original's raw maps.

    Raises:
        UnsupportedModule: a module that is none that a net has operators for, or that overrides what they do.
    """
    kind = kind_of(model, "", META_ARCHITECTURES)
    _refuse_squares(model.backbone)
    mean, deviation = (values.flatten().tolist() for values in (model.pixel_mean, model.pixel_std))
    if kind == "RetinaNet":
        retinanet = _retinanet(model, mean, deviation)
        if decode:
            retinanet.give_detections()
        return retinanet
    if kind == "SemanticSegmentor":
        return SemanticSegmentor(model.backbone, model.sem_seg_head, mean, deviation)
    if kind == "ProposalNetwork":
        return ProposalNetwork(model.backbone, _rpn(model), mean, deviation)
    takes_proposals = model.proposal_generator is None
    parts = (
        model.backbone,
        None if takes_proposals else _rpn(model),
        _roi_heads(model.roi_heads, model.backbone, takes_proposals),
    )
    if kind == "GeneralizedRCNN":
        return GeneralizedRCNN(*parts, mean, deviation)
    return PanopticFPN(
        *parts,
        model.sem_seg_head,
        mean,
        deviation,
        overlap_threshold=float(model.combine_overlap_thresh),
        stuff_area_limit=int(model.combine_stuff_area_thresh),
        instances_confidence_threshold=float(model.combine_instances_score_thresh),
    )


def _refuse_squares(backbone: Any) -> None:
    square = getattr(backbone, "padding_constraints", {}).get("square_size", 0)
    if square > 0:
        raise UnsupportedModule(
            f"backbone ({type(backbone).__name__}) pads every image to a square of {square} pixels, which a net of any "
            "size does not; use a backbone without square_size"
        )


def _strides(backbone: Any, names: Sequence[str]) -> list[int]:
    shapes = backbone.output_shape()
    return [int(shapes[name].stride) for name in names]


def _anchors(generator: Any, place: str, strides: Sequence[int]) -> AnchorGenerator:
    kind_of(generator, place, ("DefaultAnchorGenerator",))
    cells: list[Tensor] = list(generator.cell_anchors)
    # One entry serves all levels in some versions.
    cells = cells * len(strides) if len(cells) == 1 else cells
    counts = {len(cell) for cell in cells}
    if len(counts) > 1:
        raise UnsupportedModule(
            f"{place}: levels have {sorted(counts)} anchors; one head serves all levels, and gives one number"
        )
    offset = float(getattr(generator, "offset", 0.0))
    moved = [cell.detach().float() + offset * stride for cell, stride in zip(cells, strides, strict=True)]
    return AnchorGenerator(moved, strides)


def _weights(transform: Any, place: str) -> list[float]:
    kind_of(transform, place, ("Box2BoxTransform",))
    clamp = float(transform.scale_clamp)
    if not math.isclose(clamp, _SCALE_CLAMP, rel_tol=1e-6):
        raise UnsupportedModule(
            f"{place}: its scale_clamp is {clamp:g}, and Caffe2 has {_SCALE_CLAMP:g}, log(1000 / 16), alone; train the "
            "model with that"
        )
    return [float(weight) for weight in transform.weights]


def _rpn(model: Any) -> RPN:
    live, place = model.proposal_generator, "proposal_generator"
    kind_of(live, place, ("RPN",))
    names = list(live.in_features)
    return RPN(
        live.rpn_head,
        _anchors(live.anchor_generator, f"{place}.anchor_generator", _strides(model.backbone, names)),
        names,
        # By whether the model is in training.
        pre_nms_topk=int(live.pre_nms_topk[False]),
        post_nms_topk=int(live.post_nms_topk[False]),
        nms_thresh=float(live.nms_thresh),
        min_box_size=float(live.min_box_size),
        box_weights=tuple(_weights(live.box2box_transform, f"{place}.box2box_transform")),
    )


def _roi_heads(live: Any, backbone: Any, takes_proposals: bool) -> RoIHeads:
    kind = kind_of(live, "roi_heads", _HEADS)
    if kind == "Res5ROIHeads":
        return _res5_heads(live)
    names = list(live.box_in_features)
    cascade = kind == "CascadeROIHeads"
    box_pooler = _pooler(live.box_pooler, "roi_heads.box_pooler", empty_rois=cascade or takes_proposals)
    branches = (
        *_branch(live, "mask", "BaseMaskRCNNHead", names),
        *_branch(live, "keypoint", "BaseKeypointRCNNHead", names),
    )
    if not cascade:
        selection, weights = _predictor(live.box_predictor, "roi_heads.box_predictor")
        return StandardRoIHeads(names, selection, box_pooler, live.box_head, live.box_predictor, weights, *branches)
    stages = [_predictor(each, f"roi_heads.box_predictor.{k}") for k, each in enumerate(live.box_predictor)]
    return CascadeRoIHeads(
        names,
        # The last predictor selects, from what all have scored.
        stages[-1][0],
        box_pooler,
        list(live.box_head),
        list(live.box_predictor),
        [weights for _, weights in stages],
        *branches,
    )


def _res5_heads(live: Any) -> Res5RoIHeads:
    selection, weights = _predictor(live.box_predictor, "roi_heads.box_predictor")
    mask_head = live.mask_head if getattr(live, "mask_on", False) else None
    if mask_head is not None:
        kind_of(mask_head, "roi_heads.mask_head", ("BaseMaskRCNNHead",))
    pooler = _pooler(live.pooler, "roi_heads.pooler", empty_rois=True)
    return Res5RoIHeads(list(live.in_features), selection, pooler, live.res5, live.box_predictor, weights, mask_head)


def _predictor(live: Any, place: str) -> tuple[Selection, list[float]]:
    kind_of(live, place, ("FastRCNNOutputLayers",))
    weights = _weights(live.box2box_transform, f"{place}.box2box_transform")
    selection = Selection(
        class_agnostic=live.bbox_pred.out_features == len(weights),
        sigmoid=bool(getattr(live, "use_sigmoid_ce", False)),
        score_thresh=float(live.test_score_thresh),
        nms_thresh=float(live.test_nms_thresh),
        detections_per_image=int(live.test_topk_per_image),
    )
    return selection, weights


def _branch(live: Any, name: str, kind: str, box_in_features: list[str]) -> tuple[RoIPooler | None, Any]:
    """Pooler and head of masks or keypoints; None where the model has none."""
    if not getattr(live, f"{name}_on"):
        return None, None
    head, place = getattr(live, f"{name}_head"), f"roi_heads.{name}_head"
    kind_of(head, place, (kind,))
    taken = list(getattr(live, f"{name}_in_features"))
    if taken != box_in_features:
        raise UnsupportedModule(
            f"{place}: takes the levels {taken}, and the box head {box_in_features}; a net pools all branches from the "
            "same"
        )
    live_pooler = getattr(live, f"{name}_pooler")
    if live_pooler is None:
        raise UnsupportedModule(f"roi_heads.{name}_pooler: there is none, and a net's {name}s are of pooled features")
    return _pooler(live_pooler, f"roi_heads.{name}_pooler", empty_rois=True), head


def _pooler(live: Any, place: str, *, empty_rois: bool) -> RoIPooler:
    kind_of(live, place, ("ROIPooler",))
    levels = list(live.level_poolers)
    kinds = {type(level).__name__ for level in levels}
    if kinds != {"ROIAlign"}:
        raise UnsupportedModule(f"{place}: pools by {', '.join(sorted(kinds))}; only ROIAlign is written here")
    height, width = (int(size) for size in live.output_size)
    if height != width:
        raise UnsupportedModule(f"{place}: pools to {height} x {width} cells; use as many rows as columns")
    first = levels[0]
    pooler = RoIPooler(
        height,
        [float(level.spatial_scale) for level in levels],
        int(first.sampling_ratio),
        bool(first.aligned),
        empty_rois,
    )
    pooler.canonical_box_size, pooler.canonical_level = int(live.canonical_box_size), int(live.canonical_level)
    return pooler


def _retinanet(live: Any, mean: list[float], deviation: list[float]) -> RetinaNet:
    # 0.5 called what its head takes otherwise.
    names = list(getattr(live, "head_in_features", None) or live.in_features)
    anchors = _anchors(live.anchor_generator, "anchor_generator", _strides(live.backbone, names))
    decoder = RetinaNetDecoder(
        anchors,
        int(live.num_classes),
        score_thresh=float(live.test_score_thresh),
        topk_candidates=int(live.test_topk_candidates),
        nms_thresh=float(live.test_nms_thresh),
        detections_per_image=int(live.max_detections_per_image),
        box_weights=_weights(live.box2box_transform, "box2box_transform"),
    )
    return RetinaNet(live.backbone, live.head, anchors, names, decoder, mean, deviation)
