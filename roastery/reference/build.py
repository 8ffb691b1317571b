"""The original of a detector, whatever its architecture."""

from yacs.config import CfgNode

from roastery.detectors.detector import Detector
from roastery.reference.panoptic_fpn import ReferencePanopticFPN
from roastery.reference.proposal_network import ReferenceProposals
from roastery.reference.rcnn import ReferenceRCNN
from roastery.reference.reference import Reference
from roastery.reference.retinanet import ReferenceRetinaNet
from roastery.reference.semantic_segmentor import ReferenceSegmentor

_REFERENCES: dict[str, type[Reference]] = {
    "GeneralizedRCNN": ReferenceRCNN,
    "PanopticFPN": ReferencePanopticFPN,
    "ProposalNetwork": ReferenceProposals,
    "RetinaNet": ReferenceRetinaNet,
    "SemanticSegmentor": ReferenceSegmentor,
}


def build_reference(config: CfgNode, detector: Detector) -> Reference:
    """The reference of detectron2 over a detector's backbone and heads.

    Args:
        config: the one that the detector was built from.
    """
    return _REFERENCES[detector.meta_architecture](config, detector)
