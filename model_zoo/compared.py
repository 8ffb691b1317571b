"""A converted model's answer beside the reference's, to DESIGN.md's tolerances."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from roastery.evaluation.parity import REFERENCE, compare_instances
from roastery.structures import Instances


def differences(theirs: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[str]:
    """All in which an answer is not the reference's, beyond DESIGN.md's tolerances."""
    if theirs.keys() != answer.keys():
        yield f"{sorted(theirs)} expected, {sorted(answer)} given"
    elif "instances" in theirs:
        yield from compare_instances(theirs["instances"], answer["instances"], REFERENCE).differences
    elif "proposals" in theirs:
        expected, given = (_as_instances(each["proposals"]) for each in (theirs, answer))
        yield from compare_instances(expected, given, REFERENCE).differences
    if "sem_seg" in theirs:
        ours = answer["sem_seg"]
        if (ours - theirs["sem_seg"]).abs().max() > REFERENCE.maps * theirs["sem_seg"].abs().max():
            yield "sem_seg"
        # Pixels that lie on a threshold.
        if (ours.argmax(dim=0) != theirs["sem_seg"].argmax(dim=0)).float().mean() > 1e-4:
            yield "labels of sem_seg"
    if "panoptic_seg" in theirs:
        (ids, segments), (their_ids, their_segments) = answer["panoptic_seg"], theirs["panoptic_seg"]
        if (ids != their_ids).float().mean() > 1e-4:
            yield "panoptic_seg"
        named = [[(each["isthing"], each["category_id"]) for each in side] for side in (segments, their_segments)]
        if named[0] != named[1]:
            yield f"segments: {named[1]} expected, {named[0]} given"


def _as_instances(proposals: Instances) -> Instances:
    """Proposals as detections of one class, to be compared as such."""
    return Instances(
        proposals.image_size,
        pred_boxes=proposals.proposal_boxes,
        scores=proposals.objectness_logits,
        pred_classes=torch.zeros(len(proposals), dtype=torch.int64),
    )
