"""The original of a one-stage detector: detectron2's RetinaNet.inference, image by image.

Source: detectron2 0.5, modeling/meta_arch/retinanet.py.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from roastery.detectors.retinanet import RetinaNet
from roastery.postprocess.instances import resize_to_original
from roastery.reference.anchors import base_anchors, grid_anchors
from roastery.reference.boxes import decode
from roastery.reference.nms import grouped_nms
from roastery.reference.reference import Reference
from roastery.structures import Boxes, Instances


class ReferenceRetinaNet(Reference):
    """A RetinaNet's own answer: thresholds and anchors of the config, backbone and head of the detector."""

    detector: RetinaNet

    def answer(self, single: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
        return {"instances": resize_to_original(self.detect(single["image"]), height, width)}

    def detect(self, image: Tensor) -> Instances:
        """Detections in (3, h, w) BGR 0..255, in its own pixels, by falling score."""
        node, features = self.config.MODEL.RETINANET, self.features(image)
        names = node.IN_FEATURES
        bases = base_anchors(self.config, len(names))
        every_logit, every_delta = self.detector.head([features[name] for name in names])
        boxes, scores, classes = [], [], []
        for name, base, logits, deltas in zip(names, bases, every_logit, every_delta, strict=True):
            level_boxes, level_scores, level_classes = self._best(
                logits[0], deltas[0], base, self.detector.strides[name]
            )
            boxes.append(level_boxes)
            scores.append(level_scores)
            classes.append(level_classes)
        candidates, probabilities, labels = torch.cat(boxes), torch.cat(scores), torch.cat(classes)
        most = self.config.TEST.DETECTIONS_PER_IMAGE
        kept = grouped_nms(candidates, probabilities, labels, node.NMS_THRESH_TEST, most)
        return Instances(
            (int(image.shape[1]), int(image.shape[2])),
            pred_boxes=Boxes(candidates[kept]),
            scores=probabilities[kept],
            pred_classes=labels[kept],
        )

    def _best(self, logits: Tensor, deltas: Tensor, base: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of a level the best boxes (n, 4), their scores and classes, from maps (A * K, H, W) and (A * 4, H, W)."""
        node = self.config.MODEL.RETINANET
        count, (height, width) = len(base), logits.shape[1:]
        # Every anchor of every cell, row by row, and all its classes: as detectron2 lays them out.
        by_anchor = logits.reshape(count, -1, height, width).permute(2, 3, 0, 1).reshape(height * width * count, -1)
        moves = deltas.reshape(count, 4, height, width).permute(2, 3, 0, 1).reshape(-1, 1, 4)
        probabilities = by_anchor.sigmoid()
        anchors, labels = (probabilities > node.SCORE_THRESH_TEST).nonzero(as_tuple=True)
        found = probabilities[anchors, labels]
        best = torch.argsort(found, descending=True, stable=True)[: node.TOPK_CANDIDATES_TEST]
        anchors, labels = anchors[best], labels[best]
        grid = grid_anchors(base, height, width, stride, self.config.MODEL.ANCHOR_GENERATOR.OFFSET)
        return decode(moves[anchors], grid[anchors], node.BBOX_REG_WEIGHTS)[:, 0], found[best], labels
