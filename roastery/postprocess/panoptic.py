"""Segments of an image, from its instances and the class of each pixel.

Source: detectron2 0.5, modeling/postprocessing.py (sem_seg_postprocess) and meta_arch/panoptic_fpn.py
(combine_semantic_and_instance_outputs).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from roastery.structures import Instances

Panoptic = tuple[Tensor, list[dict[str, Any]]]
"""(H, W) int32 segment ids, 0 for none; and of each segment id, isthing, category_id and score or area.

The category of a thing is its class, that of the rest its class in the semantic head, where 0 stands for all things.
"""


@dataclass(frozen=True)
class PanopticSettings:
    """When a thing or a class becomes a segment.

    Attributes:
        overlap_threshold: the most of a thing's mask that better ones may cover already, 0..1.
        stuff_area_limit: the fewest pixels of a class that is no thing.
        confidence_threshold: the least score of a thing.
    """

    overlap_threshold: float = 0.5
    stuff_area_limit: int = 4096
    confidence_threshold: float = 0.5


def resize_logits(logits: Tensor, seen: tuple[int, int], height: int, width: int) -> Tensor:
    """Semantic logits (C, H, W) of a padded image, cut to the part that was `seen`, at the original image's size."""
    cut = logits[None, :, : seen[0], : seen[1]]
    resized: Tensor = F.interpolate(cut, size=(height, width), mode="bilinear", align_corners=False)[0]
    return resized


def panoptic_answer(
    instances: Instances, logits: Tensor, seen: tuple[int, int], settings: PanopticSettings
) -> dict[str, Any]:
    """A panoptic model's answer: "instances", "sem_seg" (C, height, width) logits, and "panoptic_seg".

    Args:
        instances: of the original image's size, with masks.
        logits: (C, H, W) of the padded image, of which `seen`, height and width, is no padding.
    """
    resized = resize_logits(logits, seen, *instances.image_size)
    merged = merge_segments(instances, resized.argmax(dim=0), settings)
    return {"instances": instances, "sem_seg": resized, "panoptic_seg": merged}


def merge_segments(instances: Instances, labels: Tensor, settings: PanopticSettings) -> Panoptic:
    """Things first, by falling score, then what no thing has.

    Args:
        instances: of the original image's size, with scores, pred_classes and pred_masks (n, H, W) bool.
        labels: (H, W) int64, the class of each pixel.
    """
    ids = torch.zeros_like(labels, dtype=torch.int32)
    segments: list[dict[str, Any]] = []
    for index in torch.argsort(instances.scores, descending=True, stable=True).tolist():
        score = float(instances.scores[index])
        if score < settings.confidence_threshold:
            break
        mask = instances.pred_masks[index]
        area, taken = int(mask.sum()), int((mask & (ids > 0)).sum())
        if area == 0 or taken / area > settings.overlap_threshold:
            continue
        ids[mask & (ids == 0)] = len(segments) + 1
        segments.append(
            {
                "id": len(segments) + 1,
                "isthing": True,
                "score": score,
                "category_id": int(instances.pred_classes[index]),
                "instance_id": index,
            }
        )
    for label in torch.unique(labels).tolist():
        left = (labels == label) & (ids == 0)
        area = int(left.sum())
        if label == 0 or area < settings.stuff_area_limit:
            continue
        ids[left] = len(segments) + 1
        segments.append({"id": len(segments) + 1, "isthing": False, "category_id": label, "area": area})
    return ids, segments
