"""The original of a two-stage detector: detectron2's GeneralizedRCNN.inference, image by image.

Source: detectron2 0.5, modeling/meta_arch/rcnn.py, roi_heads/fast_rcnn.py, mask_head.py and keypoint_head.py.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from roastery.detectors.generalized_rcnn import GeneralizedRCNN
from roastery.errors import DatasetError
from roastery.postprocess.instances import resize_to_original
from roastery.postprocess.keypoints import decode_keypoints
from roastery.reference.boxes import clip
from roastery.reference.images import size_of
from roastery.reference.nms import grouped_nms
from roastery.reference.proposals import propose_in
from roastery.reference.reference import Reference
from roastery.reference.roi_heads import Levels, reference_heads
from roastery.structures import Boxes, Instances


class ReferenceRCNN(Reference):
    """A GeneralizedRCNN's own answer.

    Thresholds, anchors and poolers are taken from the config, not from the detector; the detector's weights, and its
    backbone, RPN head, box head, box predictor, mask head and keypoint head are used as they are. The pasting of masks
    and the decoding of heatmaps are those of `postprocess`.
    """

    detector: GeneralizedRCNN

    def answer(self, single: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
        found = self.detect_in(self.features(single["image"]), size_of(single["image"]), single.get("proposals"))
        return {"instances": resize_to_original(found, height, width)}

    def detect_in(
        self, features: Mapping[str, Tensor], size: tuple[int, int], given: Instances | None = None
    ) -> Instances:
        """Detections in the feature maps of an image of `size`: pred_masks are (n, 1, S, S) in 0..1.

        Args:
            given: proposals, for a detector that has no RPN of its own.
        """
        heads = self.detector.roi_heads
        names = self.config.MODEL.ROI_HEADS.IN_FEATURES
        # Pooling reads a cell's channels together.
        maps = [features[name][0].permute(1, 2, 0).contiguous() for name in names]
        levels = Levels(maps, [self.detector.strides[name] for name in names], size)
        reference = reference_heads(self.config, heads)
        boxes, probabilities = reference.predict(levels, self._proposals(features, size, given))
        found = self._select(boxes, probabilities, size)
        if heads.mask_head is not None:
            logits = heads.mask_head.layers(reference.mask_features(levels, found.pred_boxes.tensor))
            if logits.shape[1] > 1:
                logits = logits[torch.arange(len(logits)), found.pred_classes][:, None]
            found.pred_masks = logits.sigmoid()
        if heads.keypoint_head is not None:
            heatmaps = heads.keypoint_head.layers(reference.keypoint_features(levels, found.pred_boxes.tensor))
            found.pred_keypoints = decode_keypoints(heatmaps, found.pred_boxes.tensor)
        return found

    def _proposals(self, features: Mapping[str, Tensor], size: tuple[int, int], given: Instances | None) -> Tensor:
        generator = self.detector.proposal_generator
        if generator is not None:
            return propose_in(self.config, generator.rpn_head, features, self.detector.strides, size)[0]
        if given is None:
            raise DatasetError("the model takes precomputed proposals, and this image has none")
        boxes: Tensor = given.proposal_boxes.tensor
        return boxes

    def _select(self, boxes: Tensor, probabilities: Tensor, size: tuple[int, int]) -> Instances:
        """Detections from boxes (n, classes or 1, 4) and probabilities (n, classes + 1), background last."""
        sound = boxes.isfinite().all(dim=2).all(dim=1) & probabilities.isfinite().all(dim=1)
        boxes, scores = clip(boxes[sound], size), probabilities[sound, :-1]
        heads = self.config.MODEL.ROI_HEADS
        rows, classes = (scores > heads.SCORE_THRESH_TEST).nonzero(as_tuple=True)
        chosen = boxes[rows, classes if boxes.shape[1] > 1 else torch.zeros_like(classes)]
        most = self.config.TEST.DETECTIONS_PER_IMAGE
        kept = grouped_nms(chosen, scores[rows, classes], classes, heads.NMS_THRESH_TEST, most)
        return Instances(
            size,
            pred_boxes=Boxes(chosen[kept]),
            scores=scores[rows, classes][kept],
            pred_classes=classes[kept],
        )
