"""Panoptic quality and semantic IoU, computed as detectron2's evaluators compute them.

Source: detectron2 0.5, evaluation/panoptic_evaluation.py (which calls panopticapi, evaluation.py) and
evaluation/sem_seg_evaluation.py. It is counted here, since torchmetrics' PanopticQuality is another figure: it knows no
crowds, takes pixels that the model left void out of the union, and forgives what was missed there.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roastery.data.label_png import IGNORED
from roastery.data.panoptic import VOID, PanopticTruth
from roastery.data.sem_seg import SemSegTruth
from roastery.errors import DatasetError
from roastery.evaluation.segments import NO_LABEL, FoundSegments, Truth, found_segments


@dataclass
class _Count:
    """Of one category."""

    matched: int = 0
    iou: float = 0.0
    """The sum over what is matched."""
    unmatched: int = 0
    """Found, without a match: false positives."""
    missed: int = 0
    """False negatives."""

    @property
    def segments(self) -> float:
        """What PQ divides by."""
        return self.matched + (self.unmatched + self.missed) / 2


def measure_panoptic(
    truth: PanopticTruth, rows: Sequence[Mapping[str, Any]], image_ids: Sequence[int] | None = None
) -> dict[str, dict[str, float]]:
    """Panoptic quality and semantic IoU of what was found. One image's pixels are in memory at a time.

    Args:
        rows: as `segment_rows` gives them, of all images in any order; in an image without rows nothing was found.
        image_ids: measure on these images alone, where the model saw no others.

    Returns:
        0..100, NaN where the dataset has nothing to measure. "panoptic_seg": "PQ", "SQ" and "RQ", the mean over the
        categories that occur or were found, and of things ("PQ_th", ...) and stuff ("PQ_st", ...) alone. "sem_seg":
        "mIoU", "fwIoU", "IoU-<name>", "mACC", "pACC" and "ACC-<name>", where a name is "things" or a stuff category's.
        mIoU is over the labels that occur or were found, mACC over those that occur.

    Raises:
        DatasetError: an image that `truth` has not; rows of an image that is not measured, or that `found_segments`
            refuses; a PNG that changed since `truth` was read.
    """
    counts = {category.id: _Count() for category in truth.categories}
    confusion = np.zeros((len(truth.label_names) + 1, len(truth.label_names)), np.int64)
    for image_id, rows_of_image in _by_image(truth, rows, image_ids).items():
        found = found_segments(image_id, rows_of_image, truth)
        _count(counts, *truth.segments(image_id), found)
        confusion += _confusion(truth.labels(image_id), found.labels, len(truth.label_names))
    kinds = {"": counts.keys(), "_th": truth.thing_ids, "_st": truth.stuff_ids}
    qualities = {kind: _qualities([counts[category_id] for category_id in ids]) for kind, ids in kinds.items()}
    return {
        "panoptic_seg": {f"{name}{kind}": value for kind in kinds for name, value in qualities[kind].items()},
        "sem_seg": _semantic(confusion, truth.label_names),
    }


def measure_labels(
    truth: SemSegTruth, rows: Sequence[Mapping[str, Any]], image_ids: Sequence[int] | None = None
) -> dict[str, float]:
    """Semantic IoU alone, of a dataset that has labels and no segments: "sem_seg" of `measure_panoptic`, which see.

    Raises:
        DatasetError: as `measure_panoptic`.
    """
    confusion = np.zeros((len(truth.label_names) + 1, len(truth.label_names)), np.int64)
    for image_id, rows_of_image in _by_image(truth, rows, image_ids).items():
        found = found_segments(image_id, rows_of_image, truth)
        confusion += _confusion(truth.labels(image_id), found.labels, len(truth.label_names))
    return _semantic(confusion, truth.label_names)


def _by_image(
    truth: Truth, rows: Sequence[Mapping[str, Any]], image_ids: Sequence[int] | None
) -> dict[int, list[Mapping[str, Any]]]:
    """The rows of each image that is measured."""
    measured = truth.image_ids if image_ids is None else sorted(set(image_ids))
    by_image: dict[int, list[Mapping[str, Any]]] = {truth.image(image_id).id: [] for image_id in measured}
    for row in rows:
        if row["image_id"] not in by_image:
            raise DatasetError(
                f"{truth.annotations}: segments of image {row['image_id']}, which is not measured; "
                "measure on the images that were segmented"
            )
        by_image[row["image_id"]].append(row)
    return by_image


def _count(
    counts: Mapping[int, _Count],
    true_ids: NDArray[np.int64],
    true_segments: Sequence[Mapping[str, Any]],
    found: FoundSegments,
) -> None:
    """Counts one image's segments.

    A pair of one category matches at an IoU over 0.5, which no other pair with either can have. Void pixels of the
    truth belong to no union. A crowd is neither matched nor missed; a segment that was found without a match is
    forgiven where more than half of it is void or a crowd of its category (the last one's, where there are several).
    """
    category_of = {segment["id"]: segment["category_id"] for segment in true_segments}
    crowds = {segment["category_id"]: segment["id"] for segment in true_segments if segment["iscrowd"]}
    crowd_ids = {segment["id"] for segment in true_segments if segment["iscrowd"]}
    overlaps = _overlaps(true_ids, found.ids)
    true_area, found_area = Counter[int](), Counter[int]()
    for (true, one), common in overlaps.items():
        true_area[true] += common
        found_area[one] += common
    matched: set[tuple[int, int]] = set()
    for (true, one), common in overlaps.items():
        if VOID in (true, one) or true in crowd_ids or category_of[true] != found.category_ids[one - 1]:
            continue
        iou = common / (true_area[true] + found_area[one] - common - overlaps[VOID, one])
        if iou > 0.5:
            matched.add((true, one))
            counts[category_of[true]].matched += 1
            counts[category_of[true]].iou += iou
    for missed in category_of.keys() - crowd_ids - {true for true, _ in matched}:
        counts[category_of[missed]].missed += 1
    of_matches = {one for _, one in matched}
    for one, category in enumerate(found.category_ids, start=1):
        crowd = overlaps[crowds[category], one] if category in crowds else 0
        if one not in of_matches and overlaps[VOID, one] + crowd <= found_area[one] / 2:
            counts[category].unmatched += 1


def _overlaps(true_ids: NDArray[np.int64], found_ids: NDArray[np.int64]) -> Counter[tuple[int, int]]:
    """Of each pair of ids, the pixels that have both."""
    many = int(found_ids.max()) + 1
    pairs, pixels = np.unique(true_ids * many + found_ids, return_counts=True)
    return Counter({divmod(pair, many): count for pair, count in zip(pairs.tolist(), pixels.tolist(), strict=True)})


def _qualities(counts: Sequence[_Count]) -> dict[str, float]:
    """The means over the categories of which there is any segment, 0..100; NaN without one."""
    there = [count for count in counts if count.segments > 0]
    by_category = {
        "PQ": [count.iou / count.segments for count in there],
        "SQ": [count.iou / count.matched if count.matched else 0.0 for count in there],
        "RQ": [count.matched / count.segments for count in there],
    }
    return {name: 100 * sum(values) / len(values) if there else math.nan for name, values in by_category.items()}


def _confusion(true: NDArray[np.uint8], found: NDArray[np.uint8], labels: int) -> NDArray[np.int64]:
    """Pixels by found label, the last row's without one, and true label: (labels + 1, labels)."""
    counting = true != IGNORED
    rows = np.where(found == NO_LABEL, labels, found)[counting].astype(np.int64)
    return np.bincount(rows * labels + true[counting], minlength=(labels + 1) * labels).reshape(labels + 1, labels)


def _semantic(confusion: NDArray[np.int64], names: Sequence[str]) -> dict[str, float]:
    """SemSegEvaluator's figures, in its order, of the pixels by found and by true label."""
    right, true, found = confusion.diagonal(), confusion.sum(0), confusion[:-1].sum(1)
    # 0 of 0 is NaN.
    with np.errstate(invalid="ignore"):
        iou, accuracy = right / np.where(true > 0, true + found - right, 0), right / true
        means = {
            # A label that was found where it never is has no IoU, and is one more to divide by.
            "mIoU": np.nansum(iou) / np.count_nonzero(true + found),
            "fwIoU": np.nansum(iou * true) / true.sum(),
            "mACC": np.nansum(accuracy) / np.count_nonzero(true),
            "pACC": right.sum() / true.sum(),
        }
    ious = {f"IoU-{name}": value for name, value in zip(names, iou, strict=True)}
    accuracies = {f"ACC-{name}": value for name, value in zip(names, accuracy, strict=True)}
    ordered = {"mIoU": means["mIoU"], "fwIoU": means["fwIoU"], **ious, "mACC": means["mACC"], "pACC": means["pACC"]}
    return {name: 100 * float(value) for name, value in {**ordered, **accuracies}.items()}
