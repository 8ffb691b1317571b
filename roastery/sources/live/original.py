"""The live model as the original of an evaluation: its own forward, pre- and post-processing."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from roastery.sources.live.importing import detectron2


class LiveOriginal:
    """A live detectron2 model that answers as every original does (`roastery.reference.reference`)."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    @torch.no_grad()
    def __call__(self, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Detect, one image at a time: detectron2 pads a batch to its largest image, which changes what is found.

        Args:
            inputs: as detectron2's: {"image": (3, h, w), "height", "width"}, and "proposals" if the model takes them.
        """
        answers: list[dict[str, Any]] = []
        for single in inputs:
            (answer,) = self.model([_as_detectron2(single)])
            answers.append(answer)
        return answers


def _as_detectron2(single: Mapping[str, Any]) -> dict[str, Any]:
    """The input with proposals in detectron2's own classes."""
    if "proposals" not in single:
        return dict(single)
    structures, given = detectron2("structures"), single["proposals"]
    proposals = structures.Instances(given.image_size)
    proposals.proposal_boxes = structures.Boxes(given.proposal_boxes.tensor)
    if given.has("objectness_logits"):
        proposals.objectness_logits = given.objectness_logits
    return {**single, "proposals": proposals}
