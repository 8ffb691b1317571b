"""SemanticSegmentor as it is deployed: the class of every pixel."""

from collections.abc import Sequence

from torch import Tensor, nn

from roastery.detectors.backbone import Backbone
from roastery.detectors.detector import Detector


class SemanticSegmentor(Detector):
    """sem_seg (N, classes, H, W): logits of each pixel of the padded image."""

    meta_architecture = "SemanticSegmentor"

    def __init__(
        self, backbone: Backbone, sem_seg_head: nn.Module, pixel_mean: Sequence[float], pixel_std: Sequence[float]
    ) -> None:
        super().__init__(backbone, pixel_mean, pixel_std)
        self.sem_seg_head = sem_seg_head

    def output_names(self, batch: int) -> list[str]:
        return ["sem_seg"]

    def forward(self, data: Tensor, im_info: Tensor) -> tuple[Tensor, ...]:
        return (self.sem_seg_head(self.features(data))[0],)
