"""GeneralizedRCNN as it is deployed: from (`data`, `im_info`) to output tensors."""

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roastery.detectors.fpn import FPN
from roastery.detectors.roi_heads import StandardRoIHeads
from roastery.detectors.rpn import RPN


class GeneralizedRCNN(nn.Module):
    """Two-stage detector: backbone, proposals, heads. The slots have detectron2's names and state-dict keys.

    `forward` takes `data` (N, 3, H, W) float32, BGR 0..255, H and W multiples of the backbone's `size_divisibility`,
    padded with the pixel mean; and `im_info` (N, 3): height and width without the padding, 1.0. It gives the tensors
    that `output_names` names.
    """

    meta_architecture = "GeneralizedRCNN"

    def __init__(
        self,
        backbone: FPN,
        proposal_generator: RPN,
        roi_heads: StandardRoIHeads,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(pixel_std, dtype=torch.float32).reshape(-1, 1, 1))

    @property
    def output_names(self) -> list[str]:
        return self.roi_heads.output_names

    @property
    def size_divisibility(self) -> int:
        return self.backbone.size_divisibility

    def forward(self, data: Tensor, im_info: Tensor) -> tuple[Tensor, ...]:
        features = self.backbone((data - self.pixel_mean) / self.pixel_std)
        rois = self.proposal_generator(features, im_info)
        outputs: tuple[Tensor, ...] = self.roi_heads(features, rois, im_info)
        return outputs


def detect_eagerly(detector: GeneralizedRCNN, data: Tensor, im_info: Tensor) -> dict[str, NDArray[Any]]:
    """What the detector itself gives, by output name: what its converted nets must give."""
    with torch.no_grad():
        outputs = detector(data, im_info)
    return {name: tensor.numpy() for name, tensor in zip(detector.output_names, outputs, strict=True)}
