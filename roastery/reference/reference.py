"""What every original is: images in, detectron2's answers out, one image at a time."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from roastery.detectors.detector import Detector
from roastery.reference.images import normalised


class Reference(ABC):
    """A detectron2 model's own answer, from a detector's backbone and heads."""

    def __init__(self, config: CfgNode, detector: Detector) -> None:
        self.config = config
        self.detector = detector

    @torch.no_grad()
    def __call__(self, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Detect, one image at a time.

        Args:
            inputs: for each image {"image": (3, h, w) tensor, BGR 0..255; "height", "width": size of the original
                image (default: h and w)}, and what else the architecture takes.

        Returns:
            What the architecture gives for each image, in pixels of the original image: {"instances": Instances}, by
            falling score, and others.
        """
        answers = []
        for single in inputs:
            _, height, width = single["image"].shape
            answers.append(self.answer(single, single.get("height", height), single.get("width", width)))
        return answers

    @abstractmethod
    def answer(self, single: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
        """Of one image's input, in pixels of the original image, which is height x width."""

    def features(self, image: Tensor) -> Mapping[str, Tensor]:
        """The backbone's feature maps of an image."""
        backbone = self.detector.backbone
        features: Mapping[str, Tensor] = backbone(normalised(self.config, image, backbone.size_divisibility))
        return features
