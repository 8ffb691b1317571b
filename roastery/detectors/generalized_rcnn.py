"""GeneralizedRCNN as it is deployed: backbone, proposals, heads."""

from collections.abc import Sequence

from torch import Tensor

from roastery.detectors.detector import Detector
from roastery.detectors.fpn import FPN
from roastery.detectors.roi_heads import StandardRoIHeads
from roastery.detectors.rpn import RPN


class GeneralizedRCNN(Detector):
    """Two-stage detector. What it gives is said by its `roi_heads`."""

    meta_architecture = "GeneralizedRCNN"

    def __init__(
        self,
        backbone: FPN,
        proposal_generator: RPN,
        roi_heads: StandardRoIHeads,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(backbone, pixel_mean, pixel_std)
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads

    def output_names(self, batch: int) -> list[str]:
        return self.roi_heads.output_names(batch)

    def forward(self, data: Tensor, im_info: Tensor) -> tuple[Tensor, ...]:
        return self.detect(self.features(data), im_info)

    def detect(self, features: dict[str, Tensor], im_info: Tensor) -> tuple[Tensor, ...]:
        """What is found in feature maps: the tensors that the heads name."""
        rois = self.proposal_generator(features, im_info)
        outputs: tuple[Tensor, ...] = self.roi_heads(features, rois, im_info)
        return outputs
