"""Precision of detections, a category at a time: what pycocotools keeps of one is let go before the next.

Source: pycocotools/cocoeval.py, which does the matching and the sums; lvis-api, lvis/eval.py, for datasets whose images
were searched for some categories alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from roastery.data.coco import Content
from roastery.data.lvis import VERIFIED_KEYS

Row = Mapping[str, Any]
"""An annotation or a detection."""

FEDERATED_DETECTIONS = 300
"""So many of an image count, whatever they are of, where it was searched for some categories alone."""


def precisions(
    content: Content,
    results: Iterable[Row],
    iou_type: str,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    oks_sigmas: Sequence[float] = (),
    federated: bool = False,
) -> NDArray[np.float64]:
    """COCO's precision at IoU threshold (10), recall (101), category, and area range: all, small, medium, large.

    Of an image and a category the 100 detections of highest score count (20 of keypoints), as COCO has it.

    Args:
        content: the annotations. Nothing in them is changed.
        results: detections in COCO's result format, each with what the IoU type needs.
        image_ids: rising.
        category_ids: rising.
        oks_sigmas: of each keypoint; none: COCO's own.
        federated: whether an image counts for the categories alone that it has annotations of or is said to have none
            of. Of a category of which it has more than are annotated, an unmatched detection is no mistake. Of an image
            the 300 detections of highest score count, but for those without an area.

    Returns:
        (10, 101, K, 4), of keypoints without small: (10, 101, K, 3). -1 where a category has no object that counts.
    """
    evaluated = set(image_ids)
    images = {image["id"]: image for image in content["images"] if image["id"] in evaluated}
    truths = _by_category(content.get("annotations", ()), evaluated)
    negative, not_exhaustive = (_verified(images.values(), key, federated) for key in VERIFIED_KEYS)
    found = _by_category(_surest(results) if federated else results, evaluated)
    parts = []
    for category in category_ids:
        objects, detections = truths[category], found[category]
        seen = {row["image_id"] for row in objects} | negative[category]
        if federated:
            detections = [row for row in detections if row["image_id"] in seen and _has_area(row, iou_type)]
        # An image with neither an object nor a detection of the category gives nothing.
        chosen = sorted(seen | {row["image_id"] for row in detections})
        truth = _indexed([images[image_id] for image_id in chosen], category, objects)
        evaluation = _Evaluation(truth, _loaded(truth, detections, iou_type), iou_type)
        evaluation.not_exhaustive = not_exhaustive[category]
        evaluation.params.imgIds = chosen
        evaluation.params.catIds = [category]
        evaluation.params.maxDets = [FEDERATED_DETECTIONS] if federated else evaluation.params.maxDets[-1:]
        if iou_type == "keypoints" and oks_sigmas:
            evaluation.params.kpt_oks_sigmas = np.array(oks_sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        parts.append(evaluation.eval["precision"][..., 0])
    return np.concatenate(parts, axis=2)


class _Evaluation(COCOeval):  # type: ignore[misc]
    """COCOeval that knows in which images more objects may be than are annotated."""

    not_exhaustive: set[int]

    def evaluateImg(self, imgId: int, catId: int, aRng: Any, maxDet: int) -> Any:  # noqa: N802  (pycocotools' name)
        found = super().evaluateImg(imgId, catId, aRng, maxDet)
        if found is not None and imgId in self.not_exhaustive:
            found["dtIgnore"] |= found["dtMatches"] == 0
        return found


def _by_category(rows: Iterable[Row], image_ids: set[int]) -> defaultdict[int, list[Row]]:
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if row["image_id"] in image_ids:
            found[row["category_id"]].append(row)
    return found


def _verified(images: Iterable[Row], key: str, federated: bool) -> defaultdict[int, set[int]]:
    """Category to the images whose list `key` has it; none where images have no such lists."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    for image in images if federated else ():
        for category in image.get(key, ()):
            found[category].add(image["id"])
    return found


def _surest(results: Iterable[Row]) -> Iterable[Row]:
    """The detections of highest score of each image; of equal ones those that come first."""
    by_image: defaultdict[int, list[Row]] = defaultdict(list)
    for row in results:
        by_image[row["image_id"]].append(row)
    for rows in by_image.values():
        yield from sorted(rows, key=lambda row: -row["score"])[:FEDERATED_DETECTIONS]


def _has_area(result: Row, iou_type: str) -> bool:
    if iou_type == "segm":
        return bool(mask_api.area(result["segmentation"]) > 0)
    return bool(result["bbox"][2] * result["bbox"][3] > 0)


def _indexed(images: list[Row], category: int, annotations: Iterable[Row]) -> COCO:
    """One category's annotations. pycocotools writes into what it is given."""
    coco = COCO()
    coco.dataset = {"images": images, "categories": [{"id": category}], "annotations": [{**row} for row in annotations]}
    coco.createIndex()
    return coco


def _loaded(truth: COCO, results: Sequence[Row], iou_type: str) -> COCO:
    if not results:
        # loadRes fails on an empty list.
        return _indexed(truth.dataset["images"], truth.dataset["categories"][0]["id"], ())
    # With a box beside the mask loadRes would take the box's area for the mask's; of keypoints detectron2 lets it.
    left_out = ("bbox", "keypoints") if iou_type == "segm" else ("segmentation",)
    return truth.loadRes([{key: value for key, value in row.items() if key not in left_out} for row in results])
