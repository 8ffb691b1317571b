"""The original of a PanopticFPN: detectron2's PanopticFPN.inference, image by image.

Source: detectron2 0.5, modeling/meta_arch/panoptic_fpn.py.
"""

from collections.abc import Mapping
from typing import Any

from roastery.detectors.panoptic_fpn import PanopticFPN
from roastery.postprocess.instances import resize_to_original
from roastery.postprocess.panoptic import PanopticSettings, panoptic_answer
from roastery.reference.images import size_of
from roastery.reference.rcnn import ReferenceRCNN


class ReferencePanopticFPN(ReferenceRCNN):
    """A PanopticFPN's own answer: instances, "sem_seg" (C, height, width) and "panoptic_seg".

    The semantic head is the detector's, which upsamples as detectron2's; segments are merged by `postprocess`.
    """

    detector: PanopticFPN

    def answer(self, single: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
        features, seen = self.features(single["image"]), size_of(single["image"])
        instances = resize_to_original(self.detect_in(features, seen, single.get("proposals")), height, width)
        combine = self.config.MODEL.PANOPTIC_FPN.COMBINE
        settings = PanopticSettings(
            combine.OVERLAP_THRESH, combine.STUFF_AREA_LIMIT, combine.INSTANCES_CONFIDENCE_THRESH
        )
        return panoptic_answer(instances, self.detector.sem_seg_head(features)[0][0], seen, settings)
