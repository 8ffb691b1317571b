"""GeneralizedRCNN as it is deployed: backbone, proposals, heads."""

from collections.abc import Sequence

from torch import Tensor

from roastery.detectors.backbone import Backbone
from roastery.detectors.detector import ROIS, Detector
from roastery.detectors.roi_heads import RoIHeads
from roastery.detectors.rpn import RPN


class GeneralizedRCNN(Detector):
    """Two-stage detector. What it gives is said by its `roi_heads`; without an RPN it takes proposals."""

    meta_architecture = "GeneralizedRCNN"

    def __init__(
        self,
        backbone: Backbone,
        proposal_generator: RPN | None,
        roi_heads: RoIHeads,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(backbone, pixel_mean, pixel_std)
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads

    @property
    def input_names(self) -> tuple[str, ...]:
        return super().input_names if self.proposal_generator is not None else (*super().input_names, ROIS)

    def output_names(self, batch: int) -> list[str]:
        return self.roi_heads.output_names(batch)

    def forward(self, data: Tensor, im_info: Tensor, rois: Tensor | None = None) -> tuple[Tensor, ...]:
        return self.detect(self.features(data), im_info, rois)

    def detect(self, features: dict[str, Tensor], im_info: Tensor, rois: Tensor | None) -> tuple[Tensor, ...]:
        """What is found in feature maps: the tensors that the heads name."""
        if self.proposal_generator is not None:
            rois = self.proposal_generator(features, im_info)
        outputs: tuple[Tensor, ...] = self.roi_heads(features, rois, im_info)
        return outputs
