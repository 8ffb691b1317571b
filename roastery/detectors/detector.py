"""What every deployable detector is: from (`data`, `im_info`) to named output tensors."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roastery.detectors.backbone import Backbone

NetArgument = int | float | str | list[int] | list[float]
"""What a net can say of itself."""


INPUT_NAMES = ("data", "im_info")
ROIS = "rois"
"""The third input, of a detector that takes proposals."""


class Detector(nn.Module):
    """A backbone, what comes after it, and how images are normalised. The slots have detectron2's names and keys.

    `forward` takes `data` (N, 3, H, W) float32, BGR 0..255, H and W multiples of the backbone's `size_divisibility`,
    padded with the pixel mean; `im_info` (N, 3): height and width without the padding, 1.0; and, where `input_names`
    says so, `rois` (n, 5) float32: proposals made elsewhere, index of the image and xyxy pixels of `data`. It gives the
    tensors that `output_names` names.
    """

    meta_architecture: ClassVar[str]

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of what `forward` takes, in order."""
        return INPUT_NAMES

    def __init__(self, backbone: Backbone, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> None:
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

    @property
    def strides(self) -> dict[str, int]:
        """Of the backbone's maps by name, in pixels."""
        return {name: spec.stride or 1 for name, spec in self.backbone.output_shape().items()}

    def features(self, data: Tensor) -> dict[str, Tensor]:
        """The backbone's feature maps of a batch, by name."""
        features: dict[str, Tensor] = self.backbone((data - self.pixel_mean) / self.pixel_std)
        return features


def detect_eagerly(detector: Detector, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What the detector itself gives for inputs by name, by output name: what its converted nets must give."""
    with torch.no_grad():
        outputs = detector(*(torch.from_numpy(inputs[name]) for name in detector.input_names))
    names = detector.output_names(len(inputs["data"]))
    return {name: tensor.numpy() for name, tensor in zip(names, outputs, strict=True)}
