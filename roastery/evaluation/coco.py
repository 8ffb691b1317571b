"""COCO AP, computed as detectron2's COCOEvaluator computes it.

Source: detectron2 0.5, evaluation/coco_evaluation.py; pycocotools does the matching and the sums.
"""

import contextlib
import io
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_api
from torch import Tensor

from roastery.data.coco import CocoDataset, Content
from roastery.data.lvis import FREQUENCIES
from roastery.errors import DatasetError
from roastery.evaluation.by_category import precisions
from roastery.postprocess.masks import UnpastedMasks
from roastery.results import Finder
from roastery.structures import Instances

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
"""The first figures of COCO's summary, in its order."""
KEYPOINT_METRICS = ("AP", "AP50", "AP75", "APm", "APl")
"""The same of keypoints: COCO has none of small objects."""
COCO_KEYPOINTS = 17

CURVES = {"AP50": slice(0, 1), "AP75": slice(5, 6), "AP": slice(None)}
"""The metrics that have a curve, and which of COCO's ten IoU thresholds (0.50, 0.55, ...) each is over."""


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision over recall, the mean over all classes that have an object, for "AP50", "AP75" and "AP".

    A curve's own mean is the metric that it is named after.

    Attributes:
        recall: (101,) 0.00, 0.01, ..., 1.00.
        precision: metric to (101,), 0..1: the best precision at that recall or a higher one; 0 where none was reached.
    """

    recall: tuple[float, ...]
    precision: Mapping[str, tuple[float, ...]]


CurvesByTarget = Mapping[Finder, Mapping[str, PrecisionRecall]]
"""Whose detections, and IoU type, to precision over recall."""


@dataclass(frozen=True)
class CocoFigures:
    """What COCO says of detections.

    Attributes:
        metrics: IoU type to metric to 0..100; NaN where the dataset has no object that counts.
        curves: by IoU type; none for a type that has no object.
    """

    metrics: dict[str, dict[str, float]]
    curves: dict[str, PrecisionRecall]


def to_coco_results(image_id: int, instances: Instances, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Detections of one image in COCO's result format, in their order.

    Args:
        instances: at the original image's size, with pred_boxes, scores, pred_classes and perhaps pred_masks
            (n, height, width) bool, or unpasted, and pred_keypoints (n, K, 3).
        category_ids: the COCO category of each class index.

    Returns:
        For each detection {"image_id", "category_id", "bbox": [x, y, width, height] in pixels, "score"} and with masks
        "segmentation": {"size": [height, width], "counts": str}, with keypoints "keypoints": [x, y, score, ...], where
        a pixel's centre is a whole number: fit for JSON.

    Raises:
        DatasetError: a class that has no category.
    """
    classes = instances.pred_classes.tolist()
    unknown = sorted({label for label in classes if not 0 <= label < len(category_ids)})
    if unknown:
        raise DatasetError(
            f"image {image_id}: the model found class {unknown[0]}, but the dataset has "
            f"{len(category_ids)} categories; evaluate on the dataset that the model was trained for"
        )
    boxes = instances.pred_boxes.tensor.numpy().copy()
    boxes[:, 2:] -= boxes[:, :2]
    results: list[dict[str, Any]] = [
        {"image_id": int(image_id), "category_id": int(category_ids[label]), "bbox": box, "score": score}
        for label, box, score in zip(classes, boxes.tolist(), instances.scores.tolist(), strict=True)
    ]
    if instances.has("pred_masks") and results:
        for result, counts in zip(results, _run_lengths(instances.pred_masks), strict=True):
            result["segmentation"] = {"size": [*instances.image_size], "counts": counts}
    if instances.has("pred_keypoints"):
        # Ours count from a pixel's corner, COCO's from its centre.
        moved = instances.pred_keypoints.numpy() - np.array([0.5, 0.5, 0.0], np.float32)
        for result, keypoints in zip(results, moved, strict=True):
            result["keypoints"] = keypoints.flatten().tolist()
    return results


def _run_lengths(masks: Tensor | UnpastedMasks) -> list[str]:
    if isinstance(masks, UnpastedMasks):
        return masks.run_lengths()
    columns = np.asfortranarray(masks.numpy().transpose(1, 2, 0).astype(np.uint8))
    return [encoded["counts"].decode("ascii") for encoded in mask_api.encode(columns)]


def evaluate_coco(
    dataset: CocoDataset,
    results: Sequence[dict[str, Any]],
    iou_types: Sequence[str] = ("bbox", "segm"),
    image_ids: Sequence[int] | None = None,
    oks_sigmas: Sequence[float] = (),
) -> dict[str, dict[str, float]]:
    """COCO AP of detections: the metrics of `measure_coco`, which see.

    Raises:
        DatasetError: as `measure_coco`.
    """
    return measure_coco(dataset, results, iou_types, image_ids, oks_sigmas).metrics


def measure_coco(
    dataset: CocoDataset,
    results: Sequence[dict[str, Any]],
    iou_types: Sequence[str] = ("bbox", "segm"),
    image_ids: Sequence[int] | None = None,
    oks_sigmas: Sequence[float] = (),
) -> CocoFigures:
    """COCO AP and precision-recall curves of detections. Prints nothing.

    Of an image and a category only the 100 detections of highest score count, as COCO has it. Of LVIS, see
    `roastery.evaluation.by_category.precisions`.

    Args:
        results: as `to_coco_results` gives them; none at all gives AP 0.
        iou_types: of "bbox", "segm" and "keypoints".
        image_ids: evaluate on these images alone, where the model saw no others.
        oks_sigmas: of each keypoint, detectron2's TEST.KEYPOINT_OKS_SIGMAS; none: COCO's own.

    Returns:
        For each IoU type the metrics "AP", "AP50", "AP75", "APs" (not of keypoints), "APm", "APl" and, where there is
        more than one, "AP-<class>" for each class; of LVIS instead "APr", "APc" and "APf", of rare, common and
        frequent classes; and the curves.

    Raises:
        DatasetError: results for images or categories that are not evaluated, without a mask or keypoints that an IoU
            type needs, or with a score that is no number; annotations without them.
    """
    if iou_types and not dataset.category_ids:
        raise DatasetError(f"{dataset.name}: has no objects, only labels of pixels; evaluate on a dataset of objects")
    evaluated = sorted(record.id for record in dataset.images) if image_ids is None else sorted(set(image_ids))
    _check_images(dataset, evaluated)
    _check_results(dataset, results, iou_types, set(evaluated))
    content = dataset.content
    if "segm" in iou_types:
        _check_masks(dataset, content, set(evaluated))
    if "keypoints" in iou_types:
        _check_keypoints(dataset, content, results, set(evaluated), len(oks_sigmas) or COCO_KEYPOINTS)
    figures = CocoFigures({}, {})
    for iou_type in iou_types:
        # pycocotools prints as it goes.
        with contextlib.redirect_stdout(io.StringIO()):
            precision = precisions(
                content, results, iou_type, evaluated, dataset.category_ids, oks_sigmas, dataset.is_federated
            )
        figures.metrics[iou_type] = _metrics(iou_type, precision, dataset, content)
        of_all_areas = precision[..., 0]
        if (of_all_areas > -1).any():
            figures.curves[iou_type] = _curves(of_all_areas)
    return figures


def _check_images(dataset: CocoDataset, image_ids: Sequence[int]) -> None:
    unknown = sorted(set(image_ids) - {record.id for record in dataset.images})
    if unknown:
        raise DatasetError(
            f"{dataset.annotations}: no image with id {unknown[0]}; evaluate on the dataset's own images"
        )


def _check_results(
    dataset: CocoDataset, results: Sequence[dict[str, Any]], iou_types: Sequence[str], image_ids: set[int]
) -> None:
    categories = set(dataset.category_ids)
    for result in results:
        image_id, category_id = result["image_id"], result["category_id"]
        if image_id not in image_ids:
            raise DatasetError(
                f"{dataset.annotations}: detections for image {image_id}, which is not evaluated; "
                "evaluate on the images that were detected"
            )
        if category_id not in categories:
            raise DatasetError(
                f"{dataset.annotations}: detections of category {category_id}, but it has {sorted(categories)}; "
                "evaluate on the dataset that the model was trained for"
            )
        numbers = (result["score"], *result["bbox"], *result.get("keypoints", ()))
        if not all(math.isfinite(value) for value in numbers):
            raise DatasetError(f"image {image_id}: a detection with NaN or infinity cannot be evaluated: {result}")
        if "segm" in iou_types and "segmentation" not in result:
            raise DatasetError(f"image {image_id}: a detection without a mask; evaluate 'bbox' alone")


def _annotations(content: Content, image_ids: Collection[int]) -> Iterator[Mapping[str, Any]]:
    return (annotation for annotation in content.get("annotations", ()) if annotation["image_id"] in image_ids)


def _check_masks(dataset: CocoDataset, content: Content, image_ids: Collection[int]) -> None:
    for annotation in _annotations(content, image_ids):
        if not annotation.get("segmentation"):
            raise DatasetError(
                f"{dataset.annotations}: annotation {annotation['id']} has no 'segmentation', which a model with masks "
                "is measured by; add it, or evaluate a model without masks"
            )


def _check_keypoints(
    dataset: CocoDataset,
    content: Content,
    results: Sequence[dict[str, Any]],
    image_ids: Collection[int],
    count: int,
) -> None:
    for result in results:
        if len(result.get("keypoints", ())) != 3 * count:
            raise DatasetError(
                f"image {result['image_id']}: a detection without {count} keypoints, for which there are sigmas; set "
                "TEST.KEYPOINT_OKS_SIGMAS to one for each of the model's"
            )
    for annotation in _annotations(content, image_ids):
        keypoints: Any = annotation.get("keypoints")
        fits = isinstance(keypoints, list) and len(keypoints) == 3 * count
        if not fits or not all(type(value) in (int, float) and math.isfinite(value) for value in keypoints):
            raise DatasetError(
                f"{dataset.annotations}: annotation {annotation['id']} has no 'keypoints' of {count} times x, y and "
                "visibility; add them, or evaluate a model without keypoints"
            )
        if type(annotation.get("num_keypoints")) is not int:
            raise DatasetError(f"{dataset.annotations}: annotation {annotation['id']} has no 'num_keypoints'; add it")


def _metrics(iou_type: str, precision: NDArray[np.float64], dataset: CocoDataset, content: Content) -> dict[str, float]:
    """Of precisions (thresholds, recalls, categories, area ranges)."""
    names = KEYPOINT_METRICS if iou_type == "keypoints" else METRICS
    of_all_areas = precision[..., 0]
    metrics = {name: _percent(of_all_areas[CURVES[name]]) for name in names[:3]}
    metrics |= {name: _percent(precision[..., area]) for area, name in enumerate(names[3:], start=1)}
    if dataset.is_federated:
        # Of its 1,203 classes detectron2 tells none alone.
        frequency = {category["id"]: category.get("frequency") for category in content["categories"]}
        for letter in FREQUENCIES if all(value in FREQUENCIES for value in frequency.values()) else ():
            chosen = [frequency[category] == letter for category in dataset.category_ids]
            metrics[f"AP{letter}"] = _percent(of_all_areas[:, :, chosen])
    elif len(dataset.class_names) > 1:
        for index, name in enumerate(dataset.class_names):
            metrics[f"AP-{name}"] = _percent(of_all_areas[:, :, index])
    return metrics


def _curves(precision: NDArray[np.float64]) -> PrecisionRecall:
    """Of precisions (thresholds, recalls, categories), -1 where a category has no object."""
    of_classes = precision[:, :, (precision > -1).any(axis=(0, 1))]
    means = {metric: of_classes[thresholds].mean(axis=(0, 2)) for metric, thresholds in CURVES.items()}
    recall = np.linspace(0.0, 1.0, precision.shape[1])
    return PrecisionRecall(tuple(recall.tolist()), {metric: tuple(mean.tolist()) for metric, mean in means.items()})


def _percent(precision: NDArray[np.float64]) -> float:
    """The mean over all that has an object, 0..100; NaN where nothing has."""
    defined = precision[precision > -1]
    return float(defined.mean()) * 100 if defined.size else math.nan
