"""A detector from a config: its meta-architecture and what that is made of, each looked up by its name."""

from yacs.config import CfgNode

# What is imported for its registrations alone.
from roastery.detectors import cascade_heads as _cascade_heads  # noqa: F401
from roastery.detectors import fpn as _fpn  # noqa: F401
from roastery.detectors import res5_heads as _res5_heads  # noqa: F401
from roastery.detectors.backbone import Backbone, ShapeSpec
from roastery.detectors.detector import Detector
from roastery.detectors.generalized_rcnn import GeneralizedRCNN
from roastery.detectors.panoptic_fpn import PanopticFPN
from roastery.detectors.proposal_network import ProposalNetwork
from roastery.detectors.registries import BACKBONE_REGISTRY, META_ARCH_REGISTRY, ROI_HEADS_REGISTRY
from roastery.detectors.retinanet import RetinaNet, build_retinanet
from roastery.detectors.roi_heads import RoIHeads
from roastery.detectors.rpn import RPN, build_proposal_generator
from roastery.detectors.semantic_head import build_semantic_head
from roastery.detectors.semantic_segmentor import SemanticSegmentor
from roastery.errors import ConfigError


def build_model(config: CfgNode) -> Detector:
    """The detector that `MODEL.META_ARCHITECTURE` names, with random weights.

    Raises:
        ConfigError: a meta-architecture or a part that has no deployable form.
    """
    build = META_ARCH_REGISTRY.look_up("MODEL.META_ARCHITECTURE", config.MODEL.META_ARCHITECTURE)
    detector: Detector = build(config)
    _require_kind(detector, Detector, "MODEL.META_ARCHITECTURE", config.MODEL.META_ARCHITECTURE)
    return detector


def build_backbone(config: CfgNode) -> Backbone:
    """The backbone that `MODEL.BACKBONE.NAME` names, for images of as many channels as MODEL.PIXEL_MEAN has.

    Raises:
        ConfigError: there is no such backbone, or it cannot be built.
    """
    name = config.MODEL.BACKBONE.NAME
    build = BACKBONE_REGISTRY.look_up("MODEL.BACKBONE.NAME", name)
    backbone: Backbone = build(config, ShapeSpec(channels=len(config.MODEL.PIXEL_MEAN)))
    _require_kind(backbone, Backbone, "MODEL.BACKBONE.NAME", name)
    return backbone


def build_stages(config: CfgNode) -> tuple[Backbone, RPN | None, RoIHeads]:
    """What a two-stage detector is made of: backbone, proposals (None: it takes them) and heads.

    Raises:
        ConfigError: a part that has no deployable form.
    """
    model, backbone = config.MODEL, build_backbone(config)
    build_heads = ROI_HEADS_REGISTRY.look_up("MODEL.ROI_HEADS.NAME", model.ROI_HEADS.NAME)
    takes_proposals = model.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals"
    if takes_proposals != model.LOAD_PROPOSALS:
        raise ConfigError(
            f"MODEL.LOAD_PROPOSALS: is {model.LOAD_PROPOSALS}, but MODEL.PROPOSAL_GENERATOR.NAME "
            f"{model.PROPOSAL_GENERATOR.NAME!r}; PrecomputedProposals are to be loaded, others are not"
        )
    shapes = backbone.output_shape()
    proposals = None if takes_proposals else build_proposal_generator(config, shapes)
    heads: RoIHeads = build_heads(config, shapes)
    _require_kind(heads, RoIHeads, "MODEL.ROI_HEADS.NAME", model.ROI_HEADS.NAME)
    return backbone, proposals, heads


@META_ARCH_REGISTRY.register_as("GeneralizedRCNN")
def _build_two_stages(config: CfgNode) -> GeneralizedRCNN:
    return GeneralizedRCNN(*build_stages(config), config.MODEL.PIXEL_MEAN, config.MODEL.PIXEL_STD)


@META_ARCH_REGISTRY.register_as("PanopticFPN")
def _build_panoptic(config: CfgNode) -> PanopticFPN:
    model = config.MODEL
    if not model.MASK_ON:
        raise ConfigError("MODEL.MASK_ON: a PanopticFPN without masks has no segments of things; set it to True")
    backbone, proposals, heads = build_stages(config)
    combine = model.PANOPTIC_FPN.COMBINE
    return PanopticFPN(
        backbone,
        proposals,
        heads,
        build_semantic_head(config, backbone.output_shape()),
        model.PIXEL_MEAN,
        model.PIXEL_STD,
        overlap_threshold=float(combine.OVERLAP_THRESH),
        stuff_area_limit=int(combine.STUFF_AREA_LIMIT),
        instances_confidence_threshold=float(combine.INSTANCES_CONFIDENCE_THRESH),
    )


@META_ARCH_REGISTRY.register_as("ProposalNetwork")
def _build_proposal_network(config: CfgNode) -> ProposalNetwork:
    backbone = build_backbone(config)
    proposals = build_proposal_generator(config, backbone.output_shape())
    return ProposalNetwork(backbone, proposals, config.MODEL.PIXEL_MEAN, config.MODEL.PIXEL_STD)


@META_ARCH_REGISTRY.register_as("RetinaNet")
def _build_retinanet(config: CfgNode) -> RetinaNet:
    return build_retinanet(config, build_backbone(config))


@META_ARCH_REGISTRY.register_as("SemanticSegmentor")
def _build_semantic_segmentor(config: CfgNode) -> SemanticSegmentor:
    backbone = build_backbone(config)
    head = build_semantic_head(config, backbone.output_shape())
    return SemanticSegmentor(backbone, head, config.MODEL.PIXEL_MEAN, config.MODEL.PIXEL_STD)


def _require_kind(built: object, kind: type, key: str, name: str) -> None:
    if not isinstance(built, kind):
        raise ConfigError(
            f"{key}: {name!r} gives a {type(built).__name__}, not a {kind.__name__} of {kind.__module__}; derive it "
            "from that class"
        )
