"""PanopticFPN as it is deployed: a two-stage detector, and the class of every pixel."""

from collections.abc import Sequence

from torch import Tensor, nn

from roastery.detectors.backbone import Backbone
from roastery.detectors.detector import NetArgument
from roastery.detectors.generalized_rcnn import GeneralizedRCNN
from roastery.detectors.roi_heads import RoIHeads
from roastery.detectors.rpn import RPN


class PanopticFPN(GeneralizedRCNN):
    """What its heads give, and sem_seg (N, classes, H, W): logits of each pixel; class 0 stands for all things.

    How both are merged to segments is for whoever reads the outputs; the net's arguments say the thresholds.
    """

    meta_architecture = "PanopticFPN"

    def __init__(
        self,
        backbone: Backbone,
        proposal_generator: RPN | None,
        roi_heads: RoIHeads,
        sem_seg_head: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        *,
        overlap_threshold: float,
        stuff_area_limit: int,
        instances_confidence_threshold: float,
    ) -> None:
        super().__init__(backbone, proposal_generator, roi_heads, pixel_mean, pixel_std)
        self.sem_seg_head = sem_seg_head
        self.overlap_threshold = overlap_threshold
        self.stuff_area_limit = stuff_area_limit
        self.instances_confidence_threshold = instances_confidence_threshold

    def output_names(self, batch: int) -> list[str]:
        return [*super().output_names(batch), "sem_seg"]

    def net_arguments(self) -> dict[str, NetArgument]:
        return {
            "combine_overlap_threshold": self.overlap_threshold,
            "combine_stuff_area_limit": self.stuff_area_limit,
            "combine_instances_confidence_threshold": self.instances_confidence_threshold,
        }

    def forward(self, data: Tensor, im_info: Tensor, rois: Tensor | None = None) -> tuple[Tensor, ...]:
        features = self.features(data)
        return *self.detect(features, im_info, rois), self.sem_seg_head(features)[0]
