"""The original of an RPN alone: detectron2's ProposalNetwork, image by image.

Source: detectron2 0.5, modeling/meta_arch/rcnn.py (ProposalNetwork).
"""

from collections.abc import Mapping
from typing import Any

from roastery.detectors.proposal_network import ProposalNetwork
from roastery.postprocess.instances import resize_to_original
from roastery.reference.images import size_of
from roastery.reference.proposals import propose_in
from roastery.reference.reference import Reference
from roastery.structures import Boxes, Instances


class ReferenceProposals(Reference):
    """{"proposals": Instances} with proposal_boxes and objectness_logits, by falling objectness."""

    detector: ProposalNetwork

    def answer(self, single: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
        image, generator = single["image"], self.detector.proposal_generator
        strides, size = self.detector.strides, size_of(image)
        boxes, logits = propose_in(self.config, generator.rpn_head, self.features(image), strides, size)
        proposals = Instances(size, proposal_boxes=Boxes(boxes), objectness_logits=logits)
        return {"proposals": resize_to_original(proposals, height, width)}
