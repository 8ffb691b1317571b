"""The original of a two-stage detector: detectron2's GeneralizedRCNN.inference, image by image.

Source: detectron2 0.5, modeling/meta_arch/rcnn.py, roi_heads/fast_rcnn.py, mask_head.py and keypoint_head.py.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from roastery.detectors.generalized_rcnn import GeneralizedRCNN
from roastery.postprocess.keypoints import decode_keypoints
from roastery.reference.boxes import clip, decode
from roastery.reference.nms import grouped_nms
from roastery.reference.pooler import pool
from roastery.reference.proposals import propose
from roastery.reference.reference import Reference
from roastery.structures import Boxes, Instances


class ReferenceRCNN(Reference):
    """A GeneralizedRCNN's own answer.

    Thresholds, anchors and poolers are taken from the config, not from the detector; the detector's weights, and its
    backbone, RPN head, box head, box predictor, mask head and keypoint head are used as they are. The pasting of masks
    and the decoding of heatmaps are those of `postprocess`.
    """

    detector: GeneralizedRCNN

    def detect(self, image: Tensor) -> Instances:
        return self.detect_in(self.features(image), (int(image.shape[1]), int(image.shape[2])))

    def detect_in(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> Instances:
        """Detections in the feature maps of an image of `size`: pred_masks are (n, 1, S, S) in 0..1."""
        proposals = self._proposals(features, size)
        heads = self.detector.roi_heads
        names = self.config.MODEL.ROI_HEADS.IN_FEATURES
        levels = [features[name][0].permute(1, 2, 0).contiguous() for name in names]
        strides = [self.detector.backbone.strides[name] for name in names]
        box_node = self.config.MODEL.ROI_BOX_HEAD
        logits, deltas = heads.box_predictor(heads.box_head(pool(box_node, levels, strides, proposals)))
        boxes = decode(deltas.reshape(len(deltas), deltas.shape[1] // 4, 4), proposals, box_node.BBOX_REG_WEIGHTS)
        found = self._select(boxes, torch.softmax(logits, dim=-1), size)
        if heads.mask_head is not None:
            pooled = pool(self.config.MODEL.ROI_MASK_HEAD, levels, strides, found.pred_boxes.tensor)
            maps = heads.mask_head(pooled)
            if maps.shape[1] > 1:
                maps = maps[torch.arange(len(maps)), found.pred_classes][:, None]
            found.pred_masks = maps.sigmoid()
        if heads.keypoint_head is not None:
            pooled = pool(self.config.MODEL.ROI_KEYPOINT_HEAD, levels, strides, found.pred_boxes.tensor)
            found.pred_keypoints = decode_keypoints(heads.keypoint_head(pooled), found.pred_boxes.tensor)
        return found

    def _proposals(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        names = self.config.MODEL.RPN.IN_FEATURES
        objectness, deltas = self.detector.proposal_generator.rpn_head([features[name] for name in names])
        strides = [self.detector.backbone.strides[name] for name in names]
        return propose(self.config, [x[0] for x in objectness], [x[0] for x in deltas], strides, size)

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
