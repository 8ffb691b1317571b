"""What tells no classes of objects, seen as instances: an RPN's proposals, and the pixels of each semantic label."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from roastery.data.vocabulary import Vocabulary
from roastery.structures import Boxes, Instances

PROPOSAL = Vocabulary("a ProposalNetwork", ("proposal",), (1,))


def as_instances(answer: Mapping[str, Any], vocabulary: Vocabulary) -> tuple[Instances, Vocabulary]:
    """A model's answer as instances, and what their classes are called.

    Of a panoptic model it is the things. A proposal has the probability that its logit says. A semantic label is an
    instance with a mask and the box around that, and scores the mean of its pixels' probability; its category is the
    label itself.
    """
    if "instances" in answer:
        return answer["instances"], vocabulary
    if "proposals" in answer:
        found: Instances = answer["proposals"]
        classes = torch.zeros(len(found), dtype=torch.int64)
        scores = found.objectness_logits.sigmoid()
        return Instances(
            found.image_size, pred_boxes=found.proposal_boxes, scores=scores, pred_classes=classes
        ), PROPOSAL
    logits: Tensor = answer["sem_seg"]
    count = len(logits)
    names = tuple(vocabulary.stuff_name(label) for label in range(count))
    return _of_labels(logits), Vocabulary("a SemanticSegmentor", names, tuple(range(count)))


def _of_labels(logits: Tensor) -> Instances:
    """Of (C, H, W) logits, by falling score."""
    best, labels = logits.softmax(dim=0).max(dim=0)
    occurring = torch.unique(labels)
    masks = labels[None] == occurring[:, None, None]
    scores = torch.stack([best[mask].mean() for mask in masks]) if len(masks) else best.new_zeros(0)
    order = torch.argsort(scores, descending=True, stable=True)
    boxes = torch.tensor([_around(mask) for mask in masks]).reshape(-1, 4)
    return Instances(
        (int(labels.shape[0]), int(labels.shape[1])),
        pred_boxes=Boxes(boxes[order]),
        scores=scores[order],
        pred_classes=occurring[order],
        pred_masks=masks[order],
    )


def _around(mask: Tensor) -> list[float]:
    rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]
