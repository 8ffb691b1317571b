"""The original of a two-stage detector: detectron2's GeneralizedRCNN.inference, image by image.

Source: detectron2 0.5, modeling/meta_arch/rcnn.py, roi_heads/fast_rcnn.py and roi_heads/mask_head.py.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from roastery.detectors.generalized_rcnn import GeneralizedRCNN
from roastery.postprocess.instances import resize_to_original
from roastery.reference.boxes import clip, decode
from roastery.reference.nms import grouped_nms
from roastery.reference.pooler import pool
from roastery.reference.proposals import propose
from roastery.structures import Boxes, Instances


class ReferenceDetector:
    """A detectron2 model's own answer, from a detector's backbone and heads.

    Thresholds, anchors and poolers are taken from the config, not from the detector; the detector's weights, and its
    backbone, RPN head, box head, box predictor and mask head are used as they are. The pasting of masks is the one
    of `postprocess`.
    """

    def __init__(self, config: CfgNode, detector: GeneralizedRCNN) -> None:
        self.config = config
        self.detector = detector

    @torch.no_grad()
    def __call__(self, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Instances]]:
        """Detect, one image at a time.

        Args:
            inputs: for each image {"image": (3, h, w) tensor, BGR 0..255; "height", "width": size of the original
                image (default: h and w)}.

        Returns:
            For each image {"instances": Instances} in pixels of the original image, by falling score.
        """
        outputs = []
        for single in inputs:
            found = self.detect(single["image"])
            height, width = found.image_size
            outputs.append(
                {"instances": resize_to_original(found, single.get("height", height), single.get("width", width))}
            )
        return outputs

    @torch.no_grad()
    def detect(self, image: Tensor) -> Instances:
        """Detections in (3, h, w) BGR 0..255, in its own pixels: pred_masks are (n, 1, S, S) in 0..1."""
        size = (int(image.shape[1]), int(image.shape[2]))
        features = self.detector.backbone(self._normalised(image))
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
        return found

    def _normalised(self, image: Tensor) -> Tensor:
        """(3, h, w) to (1, 3, H, W): normalised first, then padded with 0 to a multiple of the divisibility."""
        mean = torch.tensor(self.config.MODEL.PIXEL_MEAN, dtype=torch.float32).reshape(-1, 1, 1)
        deviation = torch.tensor(self.config.MODEL.PIXEL_STD, dtype=torch.float32).reshape(-1, 1, 1)
        normalised = (image.to(torch.float32) - mean) / deviation
        multiple = max(1, self.detector.backbone.size_divisibility)
        height, width = image.shape[1:]
        below = math.ceil(height / multiple) * multiple - height
        right = math.ceil(width / multiple) * multiple - width
        return F.pad(normalised, (0, right, 0, below))[None]

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
