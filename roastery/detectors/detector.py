"""What every deployable detector is: from (`data`, `im_info`) to named output tensors."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roastery.detectors.fpn import FPN

NetArgument = int | float | str | list[int] | list[float]
"""What a net can say of itself."""


class Detector(nn.Module):
    """A backbone, what comes after it, and how images are normalised. The slots have detectron2's names and keys.

    `forward` takes `data` (N, 3, H, W) float32, BGR 0..255, H and W multiples of the backbone's `size_divisibility`,
    padded with the pixel mean; and `im_info` (N, 3): height and width without the padding, 1.0. It gives the tensors
    that `output_names` names.
    """

    meta_architecture: ClassVar[str]

    def __init__(self, backbone: FPN, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(pixel_std, dtype=torch.float32).reshape(-1, 1, 1))

    @abstractmethod
    def output_names(self, batch: int) -> list[str]:
        """The names of what `forward` gives for a batch of that many images, in order."""

    def net_arguments(self) -> dict[str, NetArgument]:
        """What the net says of this architecture, under the original's names."""
        return {}

    @property
    def size_divisibility(self) -> int:
        return self.backbone.size_divisibility

    def features(self, data: Tensor) -> dict[str, Tensor]:
        """The backbone's feature maps of a batch, by name."""
        features: dict[str, Tensor] = self.backbone((data - self.pixel_mean) / self.pixel_std)
        return features


def detect_eagerly(detector: Detector, data: Tensor, im_info: Tensor) -> dict[str, NDArray[Any]]:
    """What the detector itself gives, by output name: what its converted nets must give."""
    with torch.no_grad():
        outputs = detector(data, im_info)
    return {name: tensor.numpy() for name, tensor in zip(detector.output_names(len(data)), outputs, strict=True)}
