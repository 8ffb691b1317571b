"""ProposalNetwork as it is deployed: an RPN alone."""

from collections.abc import Sequence

from torch import Tensor

from roastery.detectors.backbone import Backbone
from roastery.detectors.detector import Detector
from roastery.detectors.rpn import RPN


class ProposalNetwork(Detector):
    """Boxes that may hold an object: rpn_rois (n, 5), index of the image and xyxy pixels; rpn_roi_probs (n,) logits.

    The names are those that the original's two-stage nets have within.
    """

    meta_architecture = "ProposalNetwork"

    def __init__(
        self, backbone: Backbone, proposal_generator: RPN, pixel_mean: Sequence[float], pixel_std: Sequence[float]
    ) -> None:
        super().__init__(backbone, pixel_mean, pixel_std)
        self.proposal_generator = proposal_generator

    def output_names(self, batch: int) -> list[str]:
        return ["rpn_rois", "rpn_roi_probs"]

    def forward(self, data: Tensor, im_info: Tensor) -> tuple[Tensor, ...]:
        return self.proposal_generator.scored(self.features(data), im_info)
