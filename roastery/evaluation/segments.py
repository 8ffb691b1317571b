"""What a panoptic model found in an image, as rows fit for JSON, and back as arrays."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from roastery.data.coco_annotations import are_run_lengths
from roastery.data.label_png import IGNORED
from roastery.data.panoptic import VOID, PanopticImage, PanopticTruth
from roastery.data.sem_seg import LabelledImage, SemSegTruth
from roastery.errors import DatasetError

Truth = PanopticTruth | SemSegTruth
NO_LABEL = np.uint8(IGNORED)
"""The label of pixels that no row of semantic labels has."""

_AGAIN = "have them found again"
_OTHER_MODEL = "evaluate on the dataset that the model was trained for"


@dataclass(frozen=True)
class FoundSegments:
    """What was found in one image.

    Attributes:
        ids: (H, W) int64, 1 .. n; 0 where no segment was found.
        category_ids: the dataset's category of segment 1 .. n.
        labels: (H, W) uint8 semantic labels; 255 where there is none.
    """

    ids: NDArray[np.int64]
    category_ids: tuple[int, ...]
    labels: NDArray[np.uint8]


def segment_rows(
    image_id: int,
    panoptic: NDArray[Any],
    segments_info: Sequence[Mapping[str, Any]],
    labels: NDArray[Any],
    truth: Truth,
) -> list[dict[str, Any]]:
    """One image's segments and semantic labels, in detectron2's form, as rows.

    Args:
        panoptic: (H, W) segment ids, 0 where there is none, at the original image's size.
        segments_info: {"id", "isthing", "category_id"} each, where "category_id" is the thing class, or for stuff the
            semantic label.
        labels: (H, W) semantic labels.
        truth: says which categories these are.

    Returns:
        {"image_id", "kind": "panoptic", "category_id", "segmentation"} of each segment that has a pixel, in their
        order, with the dataset's category; then {"image_id", "kind": "sem_seg", "label", "segmentation"} of each label
        that occurs. A "segmentation" is {"size": [height, width], "counts": str}.

    Raises:
        DatasetError: no such image in `truth`, or of another size; a class or label that `truth` has no category of.
        ValueError: ids of which `segments_info` says nothing, or twice.
    """
    image = truth.image(image_id)
    size = (image.height, image.width)
    if panoptic.shape != size or labels.shape != size:
        raise DatasetError(
            f"image {image_id}: found on {panoptic.shape} and {labels.shape} pixels, but {truth.annotations} says "
            f"{size}; correct the annotations"
        )
    categories = {int(segment["id"]): _category(segment, image_id, truth) for segment in segments_info}
    drawn = {*np.unique(panoptic).tolist()} - {VOID}
    if len(categories) < len(segments_info) or VOID in categories or not drawn <= categories.keys():
        raise ValueError(f"image {image_id}: segments {sorted(drawn)}, but segments_info is of {[*categories]}")
    occurring = np.unique(labels).tolist()
    _check_labels(occurring, image_id, truth)
    masks = [("panoptic", "category_id", categories[id], panoptic == id) for id in categories if id in drawn]
    masks += [("sem_seg", "label", int(label), labels == label) for label in occurring]
    return [
        {"image_id": int(image_id), "kind": kind, key: value, "segmentation": _run_lengths(mask)}
        for kind, key, value, mask in masks
    ]


def found_segments(image_id: int, rows: Iterable[Mapping[str, Any]], truth: Truth) -> FoundSegments:
    """What the rows of one image say: the way back of `segment_rows`, but for the segments' ids. No rows say nothing.

    Raises:
        DatasetError: no such image in `truth`; a row of another image or of no known kind, of a category or label that
            `truth` has not, or with a mask that does not fill the image, or overlaps another of its kind.
    """
    image = truth.image(image_id)
    ids, labels = np.zeros((image.height, image.width), np.int64), np.full((image.height, image.width), NO_LABEL)
    category_ids: list[int] = []
    known = {category.id for category in truth.categories}
    for row in rows:
        kind = row.get("kind")
        if row.get("image_id") != image_id or kind not in ("panoptic", "sem_seg"):
            raise DatasetError(f"image {image_id}: a row of kind {kind!r} of image {row.get('image_id')}; {_AGAIN}")
        mask = _mask(row.get("segmentation"), image)
        if not mask.any():
            raise DatasetError(f"image {image_id}: a mask of kind {kind!r} without a pixel; {_AGAIN}")
        if (ids if kind == "panoptic" else labels != NO_LABEL)[mask].any():
            raise DatasetError(f"image {image_id}: two masks of kind {kind!r} overlap; {_AGAIN}")
        if kind == "sem_seg":
            _check_labels([row["label"]], image_id, truth)
            labels[mask] = row["label"]
        elif row["category_id"] not in known:
            raise DatasetError(
                f"{truth.annotations}: image {image_id} has a segment of category {row['category_id']}, but there is "
                f"{sorted(known)}; {_OTHER_MODEL}"
            )
        else:
            category_ids.append(row["category_id"])
            ids[mask] = len(category_ids)
    return FoundSegments(ids, tuple(category_ids), labels)


def _category(segment: Mapping[str, Any], image_id: int, truth: Truth) -> int:
    """The dataset's category of one of detectron2's segments."""
    kind, of_kind = ("thing class", truth.thing_ids) if segment["isthing"] else ("stuff label", truth.stuff_ids)
    index = int(segment["category_id"]) - (0 if segment["isthing"] else 1)
    if not 0 <= index < len(of_kind):
        raise DatasetError(
            f"image {image_id}: the model found {kind} {segment['category_id']}, but {truth.annotations} has "
            f"{len(of_kind)} such categories; {_OTHER_MODEL}"
        )
    return of_kind[index]


def _check_labels(labels: Iterable[int], image_id: int, truth: Truth) -> None:
    for label in labels:
        if not 0 <= label < len(truth.label_names):
            raise DatasetError(
                f"image {image_id}: the model found label {label}, but {truth.annotations} has the labels 0 to "
                f"{len(truth.label_names) - 1}; {_OTHER_MODEL}"
            )


def _run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    encoded = mask_api.encode(np.asfortranarray(mask, np.uint8))
    return {**encoded, "counts": encoded["counts"].decode("ascii")}


def _mask(segmentation: Any, image: PanopticImage | LabelledImage) -> NDArray[np.bool_]:
    size = (image.height, image.width)
    whole = isinstance(segmentation, Mapping) and segmentation.get("size") == [*size]
    # pycocotools trusts the text that it decodes.
    if not whole or not isinstance(segmentation["counts"], str) or not are_run_lengths(segmentation["counts"], size):
        raise DatasetError(f"image {image.id}: a mask that does not fill its {size[0]} x {size[1]} pixels; {_AGAIN}")
    mask: NDArray[np.bool_] = mask_api.decode(segmentation).astype(bool)
    return mask
