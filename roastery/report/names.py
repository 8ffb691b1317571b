"""What a person reads for the names that the code uses."""

from collections.abc import Iterable

from roastery.results import Finder
from roastery.targets import runtimes

RUNTIME_NAMES: dict[Finder, str] = {name: target.runtimes[name] for name, target in runtimes().items()}
IOU_TYPE_NAMES = {
    "box_proposals": "proposal",
    "bbox": "box",
    "segm": "mask",
    "keypoints": "keypoint",
    "panoptic_seg": "panoptic",
    "sem_seg": "semantic",
}
METRIC_NAMES = {"AP50": "IoU 0.50", "AP75": "IoU 0.75", "AP": "IoU 0.50:0.95"}
"""Of the metrics that have a curve."""


def runtime_name(finder: Finder) -> str:
    return RUNTIME_NAMES.get(finder, finder)


def iou_type_name(iou_type: str) -> str:
    return IOU_TYPE_NAMES.get(iou_type, iou_type)


def in_words(finders: Iterable[Finder]) -> str:
    """Runtimes within a sentence."""
    return " and ".join(f"the {runtime_name(each)}" if each == "torch" else runtime_name(each) for each in finders)
