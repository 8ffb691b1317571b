"""A detector from detectron2's config and checkpoint, with our own parts in its slots."""

from collections.abc import Callable
from pathlib import Path

from yacs.config import CfgNode

from roastery.checkpoint import load_checkpoint, load_into
from roastery.detectors.backbone import Backbone
from roastery.detectors.cascade_heads import build_cascade_heads
from roastery.detectors.detector import Detector, NetArgument
from roastery.detectors.fpn import build_resnet_fpn, build_retinanet_resnet_fpn
from roastery.detectors.generalized_rcnn import GeneralizedRCNN
from roastery.detectors.known import require_known
from roastery.detectors.panoptic_fpn import PanopticFPN
from roastery.detectors.proposal_network import ProposalNetwork
from roastery.detectors.res5_heads import build_res5_heads
from roastery.detectors.resnet import build_resnet
from roastery.detectors.retinanet import build_retinanet
from roastery.detectors.roi_heads import RoIHeads, build_standard_heads
from roastery.detectors.rpn import build_rpn
from roastery.detectors.semantic_head import build_semantic_head
from roastery.detectors.semantic_segmentor import SemanticSegmentor
from roastery.errors import ConfigError
from roastery.metadata import CUDA_DEVICE

META_ARCHITECTURES = ("GeneralizedRCNN", "PanopticFPN", "ProposalNetwork", "RetinaNet", "SemanticSegmentor")
BACKBONES: dict[str, Callable[[CfgNode], Backbone]] = {
    "build_resnet_backbone": build_resnet,
    "build_resnet_fpn_backbone": build_resnet_fpn,
    "build_retinanet_resnet_fpn_backbone": build_retinanet_resnet_fpn,
}
ROI_HEADS: dict[str, Callable[[CfgNode, Backbone], RoIHeads]] = {
    "CascadeROIHeads": build_cascade_heads,
    "Res5ROIHeads": build_res5_heads,
    "StandardROIHeads": build_standard_heads,
}
DEVICES = {"cpu": "cpu", "cuda": CUDA_DEVICE, CUDA_DEVICE: CUDA_DEVICE}
"""What MODEL.DEVICE says, and what the net says of it. Caffe2 runs a net on the CPU or on the first GPU."""


def build_detector(config: CfgNode, decode: bool = False) -> Detector:
    """The detector that the config describes, with random weights, in eval mode.

    Args:
        decode: whether a RetinaNet gives detections instead of the original's raw maps. The others always do.

    Raises:
        ConfigError: a meta-architecture or a part that has no deployable form.
    """
    model = config.MODEL
    require_known("MODEL.META_ARCHITECTURE", model.META_ARCHITECTURE, META_ARCHITECTURES)
    require_known("MODEL.BACKBONE.NAME", model.BACKBONE.NAME, BACKBONES)
    _device(config)
    backbone = BACKBONES[model.BACKBONE.NAME](config)
    normalisation = (model.PIXEL_MEAN, model.PIXEL_STD)
    if model.META_ARCHITECTURE == "RetinaNet":
        return build_retinanet(config, backbone, decode).eval()
    if model.META_ARCHITECTURE == "ProposalNetwork":
        return ProposalNetwork(backbone, build_rpn(config, backbone), *normalisation).eval()
    if model.META_ARCHITECTURE == "SemanticSegmentor":
        return SemanticSegmentor(backbone, build_semantic_head(config, backbone), *normalisation).eval()
    return _build_two_stage(config, backbone).eval()


def _build_two_stage(config: CfgNode, backbone: Backbone) -> GeneralizedRCNN:
    model = config.MODEL
    require_known("MODEL.ROI_HEADS.NAME", model.ROI_HEADS.NAME, ROI_HEADS)
    takes_proposals = model.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals"
    if takes_proposals != model.LOAD_PROPOSALS:
        raise ConfigError(
            f"MODEL.LOAD_PROPOSALS: is {model.LOAD_PROPOSALS}, but MODEL.PROPOSAL_GENERATOR.NAME "
            f"{model.PROPOSAL_GENERATOR.NAME!r}; PrecomputedProposals are to be loaded, others are not"
        )
    proposals = None if takes_proposals else build_rpn(config, backbone)
    parts = (backbone, proposals, ROI_HEADS[model.ROI_HEADS.NAME](config, backbone))
    if model.META_ARCHITECTURE == "GeneralizedRCNN":
        return GeneralizedRCNN(*parts, model.PIXEL_MEAN, model.PIXEL_STD)
    if not model.MASK_ON:
        raise ConfigError("MODEL.MASK_ON: a PanopticFPN without masks has no segments of things; set it to True")
    combine = model.PANOPTIC_FPN.COMBINE
    return PanopticFPN(
        *parts,
        build_semantic_head(config, backbone),
        model.PIXEL_MEAN,
        model.PIXEL_STD,
        overlap_threshold=float(combine.OVERLAP_THRESH),
        stuff_area_limit=int(combine.STUFF_AREA_LIMIT),
        instances_confidence_threshold=float(combine.INSTANCES_CONFIDENCE_THRESH),
    )


def load_detector(config: CfgNode, weights: Path | str, sha256: str | None = None, *, decode: bool = False) -> Detector:
    """The detector with a checkpoint's weights, in eval mode.

    Args:
        weights: a .pkl, .pth or .safetensors file; nothing in it is executed.
        sha256: the digest that the file must have.
        decode: as in `build_detector`.

    Raises:
        ConfigError, CheckpointError: see `build_detector`, `load_checkpoint` and `load_into`.
    """
    detector = build_detector(config, decode)
    load_into(detector, load_checkpoint(weights, sha256), weights)
    return detector.requires_grad_(False)


def net_arguments(config: CfgNode, detector: Detector) -> dict[str, NetArgument]:
    """What the converted net says of itself: the original's arguments, and how to preprocess an image for it.

    `pixel_mean` is what to pad with, in `input_format`'s order; the shortest side is scaled to `min_size_test` unless
    the longest would pass `max_size_test`.
    """
    return {
        "size_divisibility": detector.size_divisibility,
        "device": _device(config),
        "meta_architecture": detector.meta_architecture,
        "pixel_mean": [float(value) for value in config.MODEL.PIXEL_MEAN],
        "input_format": config.INPUT.FORMAT,
        "min_size_test": config.INPUT.MIN_SIZE_TEST,
        "max_size_test": config.INPUT.MAX_SIZE_TEST,
        **detector.net_arguments(),
    }


def _device(config: CfgNode) -> str:
    device = config.MODEL.DEVICE
    if device not in DEVICES:
        raise ConfigError(f"MODEL.DEVICE: {device!r} is none that Caffe2 runs on; use one of {', '.join(DEVICES)}")
    return DEVICES[device]
