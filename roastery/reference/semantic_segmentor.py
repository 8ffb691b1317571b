"""The original of a SemanticSegmentor: detectron2's SemanticSegmentor.inference, image by image.

Source: detectron2 0.5, modeling/meta_arch/semantic_seg.py.
"""

from collections.abc import Mapping
from typing import Any

from roastery.detectors.semantic_segmentor import SemanticSegmentor
from roastery.postprocess.panoptic import resize_logits
from roastery.reference.images import size_of
from roastery.reference.reference import Reference


class ReferenceSegmentor(Reference):
    """{"sem_seg": (C, height, width)} logits. The head is the detector's, which upsamples as detectron2's."""

    detector: SemanticSegmentor

    def answer(self, single: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
        logits = self.detector.sem_seg_head(self.features(single["image"]))[0][0]
        return {"sem_seg": resize_logits(logits, size_of(single["image"]), height, width)}
