"""What a person reads for the names that the code uses."""

from collections.abc import Iterable

from roastery.results import Target

RUNTIME_NAMES: dict[Target, str] = {"torch": "torch runtime", "caffe2": "genuine Caffe2"}
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


def runtime_name(target: Target) -> str:
    return RUNTIME_NAMES.get(target, target)


def iou_type_name(iou_type: str) -> str:
    return IOU_TYPE_NAMES.get(iou_type, iou_type)


def in_words(targets: Iterable[Target]) -> str:
    """Runtimes within a sentence."""
    return " and ".join(f"the {runtime_name(each)}" if each == "torch" else runtime_name(each) for each in targets)
