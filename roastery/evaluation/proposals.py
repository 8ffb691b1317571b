"""How much of a dataset's objects an RPN's proposals cover, counted as detectron2's COCOEvaluator counts it.

Source: detectron2 0.5, evaluation/coco_evaluation.py (_evaluate_box_proposals): not COCO's own AR, which counts the
proposals of each category.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roastery.data.coco import CocoDataset
from roastery.errors import DatasetError
from roastery.structures import Instances

LIMITS = (100, 1000)
"""How many of an image's proposals count, the best first."""
_AREAS = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}
"""Square pixels of an object, both ends included."""
_THRESHOLDS = np.arange(0.5, 0.95 + 1e-5, 0.05, dtype=np.float32)


def to_proposal_results(image_id: int, proposals: Instances) -> list[dict[str, Any]]:
    """Proposals of one image, at the original image's size, as rows fit for JSON.

    Returns:
        {"image_id", "bbox": [x, y, width, height] in pixels, "score": objectness logit} each, in their order.
    """
    boxes = proposals.proposal_boxes.tensor.numpy().copy()
    boxes[:, 2:] -= boxes[:, :2]
    scores = proposals.objectness_logits.tolist()
    return [
        {"image_id": int(image_id), "bbox": box, "score": score}
        for box, score in zip(boxes.tolist(), scores, strict=True)
    ]


def measure_proposals(
    dataset: CocoDataset, results: Sequence[Mapping[str, Any]], image_ids: Sequence[int] | None = None
) -> dict[str, float]:
    """Average recall over IoU thresholds of 0.5 to 0.95, of all objects and of small, medium and large ones.

    Args:
        results: as `to_proposal_results` gives them, of all images in any order.
        image_ids: measure on these images alone, where the model saw no others.

    Returns:
        "AR@100", "ARs@100", ..., "AR@1000", ...: 0..100, NaN where there is no such object.

    Raises:
        DatasetError: proposals of an image that is not measured, or that are no numbers.
    """
    measured = {record.id for record in dataset.images} if image_ids is None else set(image_ids)
    found: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in results:
        if row["image_id"] not in measured:
            raise DatasetError(f"{dataset.annotations}: proposals of image {row['image_id']}, which is not measured")
        if not all(math.isfinite(value) for value in (row["score"], *row["bbox"])):
            raise DatasetError(f"image {row['image_id']}: a proposal with NaN or infinity cannot be measured: {row}")
        found[row["image_id"]].append(row)
    objects: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in dataset.content.get("annotations", ()):
        if not entry.get("iscrowd") and entry["image_id"] in measured:
            objects[entry["image_id"]].append(entry)
    covered: dict[str, list[NDArray[np.float32]]] = {f"AR{area}@{limit}": [] for limit in LIMITS for area in _AREAS}
    for image_id in sorted(objects):
        rows = sorted(found[image_id], key=lambda row: -row["score"])
        if not rows:
            # As there: an image without proposals is left out, and its objects with it.
            continue
        true, areas = _xyxy(objects[image_id]), np.array([entry["area"] for entry in objects[image_id]])
        overlaps = _overlaps(_xyxy(rows[: max(LIMITS)]), true)
        for limit in LIMITS:
            for area, (least, most) in _AREAS.items():
                of_area = overlaps[:limit, (areas >= least) & (areas <= most)]
                covered[f"AR{area}@{limit}"].append(_best(of_area))
    return {name: _recall(np.concatenate([*overlaps, np.zeros(0, np.float32)])) for name, overlaps in covered.items()}


def _xyxy(rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
    boxes = np.array([row["bbox"] for row in rows], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _overlaps(found: NDArray[np.float32], true: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU of each pair, (found, true); 0 where nothing is shared."""
    corner = np.maximum(found[:, None, :2], true[None, :, :2])
    opposite = np.minimum(found[:, None, 2:], true[None, :, 2:])
    shared = np.clip(opposite - corner, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (found, true)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    iou: NDArray[np.float32] = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return iou


def _best(overlaps: NDArray[np.float32]) -> NDArray[np.float32]:
    """What covers each object: pair after pair, the one that overlaps most of those that are left."""
    left, best = overlaps.copy(), np.zeros(overlaps.shape[1], np.float32)
    for index in range(min(left.shape)):
        row, column = np.unravel_index(left.argmax(), left.shape)
        best[index] = left[row, column]
        left[row, :] = left[:, column] = -1
    return best


def _recall(overlaps: NDArray[np.float32]) -> float:
    if not overlaps.size:
        return math.nan
    return 100 * float(np.mean([(overlaps >= threshold).mean() for threshold in _THRESHOLDS]))
