"""BoxWithNMSLimit: detections from the scores and boxes of all classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops import lowered_boxes
from roastery.ops.definition import new_count, operator
from roastery.ops.lowering import Lowering, i64, known_size, refuse
from roastery.ops.nms import grouped_nms, soft_nms
from roastery.ops.std_sort import descending

_SOFT_NMS_METHODS = ("linear", "gaussian")


def _fake(
    scores: Tensor, boxes: Tensor, batch_splits: Tensor | None = None, **_: object
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    count = new_count()
    images = 1 if batch_splits is None else batch_splits.shape[0]
    return (
        scores.new_empty(count),
        scores.new_empty(count, 4),
        scores.new_empty(count),
        scores.new_empty(images),
        scores.new_empty(count, dtype=torch.int32),
        scores.new_empty(images, scores.shape[1], dtype=torch.int32),
    )


@dataclass(frozen=True)
class _Detections:
    """Of one image, by rising class (from 1), each class's in Caffe2's order."""

    classes: NDArray[np.intp]
    rows: NDArray[np.intp]
    scores: NDArray[np.float32]

    def __getitem__(self, chosen: NDArray[np.intp]) -> "_Detections":
        return _Detections(self.classes[chosen], self.rows[chosen], self.scores[chosen])


def _lower(
    lowering: Lowering,
    scores: ir.Value,
    boxes: ir.Value,
    batch_splits: ir.Value | None = None,
    *,
    score_thresh: float,
    nms: float,
    detections_per_im: int,
    soft_nms_enabled: bool,
    rotated: bool,
    cls_agnostic_bbox_reg: bool,
    input_boxes_include_bg_cls: bool,
    output_classes_include_bg_cls: bool,
    legacy_plus_one: bool,
    **_: Any,
) -> tuple[ir.Value, ...]:
    if soft_nms_enabled or rotated:
        raise refuse("BoxWithNMSLimit", "soft NMS" if soft_nms_enabled else "a rotated box")
    scores, boxes = (_lower_matrix(lowering, x) for x in (scores, boxes))
    classes = lowering.size(scores, 1)
    first = int(input_boxes_include_bg_cls)
    foreground = lowering.columns(scores, first, -1) if not first else lowering.cut(scores, i64([1]), classes, 1)
    if not cls_agnostic_bbox_reg:
        boxes = lowered_boxes.in_fours(lowering, boxes)
        boxes = lowering.cut(boxes, i64([1]), classes, 1) if first else boxes
    found = [
        _lower_detections(
            lowering,
            *of_image,
            own=not cls_agnostic_bbox_reg,
            score_thresh=score_thresh,
            threshold=nms,
            limit=detections_per_im,
            plus_one=int(legacy_plus_one),
        )
        for of_image in _lower_each_image(lowering, batch_splits, foreground, boxes)
    ]
    all_scores, all_boxes, all_classes, all_rows, counts, sizes = [], [], [], [], [], []
    for values, kept_boxes, numbers, rows in found:
        all_scores.append(values)
        all_boxes.append(kept_boxes)
        number = lowering("Add", numbers, i64(1))
        all_classes.append(lowering.cast(number if output_classes_include_bg_cls else numbers, ir.DataType.FLOAT))
        all_rows.append(lowering.cast(rows, ir.DataType.INT32))
        counts.append(lowering.cast(lowering.size(rows, 0), ir.DataType.FLOAT))
        columns = lowering("Range", i64(0), lowering("Squeeze", classes), i64(1))
        of_class = lowering.cast(lowering("Equal", columns, lowering("Unsqueeze", number, i64([1]))), ir.DataType.INT32)
        sizes.append(lowering("ReduceSum", of_class, i64([0]), keepdims=1))
    outputs = (all_scores, all_boxes, all_classes, counts, all_rows, sizes)
    return tuple(lowering.concat(parts) for parts in outputs)


def _lower_matrix(lowering: Lowering, x: ir.Value) -> ir.Value:
    return lowering("Squeeze", x, i64([2, 3])) if x.shape is not None and len(x.shape) == 4 else x


def _lower_each_image(
    lowering: Lowering, batch_splits: ir.Value | None, scores: ir.Value, boxes: ir.Value
) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Scores and boxes of each image."""
    images = 1 if batch_splits is None else known_size("BoxWithNMSLimit", "batch_splits", batch_splits, 0)
    if batch_splits is None or images == 1:
        yield scores, boxes
        return
    stops = lowering("CumSum", lowering.cast(batch_splits, ir.DataType.INT64), i64(0))
    start = lowering.constant(i64([0]))
    for image in range(images):
        stop = lowering.cut(stops, i64([image]), i64([image + 1]), 0)
        yield lowering.cut(scores, start, stop, 0), lowering.cut(boxes, start, stop, 0)
        start = stop


def _lower_detections(
    lowering: Lowering,
    scores: ir.Value,
    boxes: ir.Value,
    *,
    own: bool,
    score_thresh: float,
    threshold: float,
    limit: int,
    plus_one: int,
) -> tuple[ir.Value, ir.Value, ir.Value, ir.Value]:
    """Scores, boxes, classes (from 0) and rows of an image's detections.

    scores: (n, foreground), boxes: (n, 4), or (n, foreground, 4) where each class has its `own`.
    """
    by_class = lowering("Transpose", scores, perm=[1, 0])
    # Classes with boxes of their own are groups of one class; those that share them, classes of one group.
    kept = lowered_boxes.non_maximum_suppression(
        lowering,
        lowering("Transpose", boxes, perm=[1, 0, 2]) if own else lowering("Unsqueeze", boxes, i64([0])),
        lowering("Unsqueeze", by_class, i64([1 if own else 0])),
        threshold=threshold,
        limit=limit,
        plus_one=plus_one,
        score_thresh=score_thresh,
    )
    row_and_class = lowering("Gather", kept, i64([2, 0 if own else 1]), axis=1)
    values = lowering("GatherND", scores, row_and_class)
    if limit > 0:
        _, best = lowering.best(values, limit)
        # By class again, which is the order that they had.
        order, _ = lowering.several("TopK", 2, best, lowering.size(best, 0), axis=0, largest=0)
        row_and_class, values = (lowering("Gather", x, order, axis=0) for x in (row_and_class, values))
    row, number = (lowering.flat(lowering.columns(row_and_class, column, column + 1)) for column in (0, 1))
    kept_boxes = lowering("GatherND", boxes, row_and_class) if own else lowering("Gather", boxes, row, axis=0)
    return values, kept_boxes, number, row


@operator(
    "BoxWithNMSLimit",
    outputs=("scores", "boxes", "classes", "batch_splits", "keeps", "keeps_size"),
    fake=_fake,
    lower=_lower,
)
def box_with_nms_limit(
    scores: Tensor,
    boxes: Tensor,
    batch_splits: Tensor | None = None,
    *,
    score_thresh: float = 0.05,
    nms: float = 0.3,
    detections_per_im: int = 100,
    soft_nms_enabled: bool = False,
    soft_nms_method: str = "linear",
    soft_nms_sigma: float = 0.5,
    soft_nms_min_score_thres: float = 0.001,
    rotated: bool = False,
    cls_agnostic_bbox_reg: bool = False,
    input_boxes_include_bg_cls: bool = True,
    output_classes_include_bg_cls: bool = True,
    legacy_plus_one: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """For each image NMS within each class, then the best detections over all classes.

    Args:
        scores: (n, classes) float32, the background among them: first if `input_boxes_include_bg_cls`, else last.
        boxes: (n, 4 * classes) float32 xyxy with `input_boxes_include_bg_cls`, else (n, 4 * (classes - 1)); (n, 4)
            with `cls_agnostic_bbox_reg`.
        batch_splits: (images,) float32 or int32, rows of each image; without it, all rows are of one image.
        score_thresh: a detection scores more than this.
        nms: the largest overlap that two detections of a class have.
        detections_per_im: detections of an image at most; 0 or fewer for all.
        soft_nms_*: lower the scores of overlapping boxes instead of dropping them.
        output_classes_include_bg_cls: whether the first class that is not the background is 1, or 0.

    Returns:
        scores (d,) float32, boxes (d, 4) float32 and classes (d,) float32 of the detections: by image, by rising class,
        by falling score; batch_splits (images,) float32, detections of each image; keeps (d,) int32, the rows of the
        detections within their image; keeps_size (images, classes) int32, detections of each class, background first.

    Where scores tie, the order is that of libstdc++'s sort (see `std_sort`).

    Raises:
        OperatorError: shapes that do not fit, an unknown `soft_nms_method`, rotated boxes.

    Source: caffe2/operators/box_with_nms_limit_op.cc, PyTorch 1.10.
    """
    if rotated:
        raise OperatorError("BoxWithNMSLimit: rotated boxes are not supported; set rotated to 0")
    if soft_nms_method not in _SOFT_NMS_METHODS:
        raise OperatorError(f"BoxWithNMSLimit: soft_nms_method {soft_nms_method!r}, must be one of {_SOFT_NMS_METHODS}")
    all_scores, all_boxes = _matrix(scores, "scores"), _matrix(boxes, "boxes")
    total, classes = all_scores.shape
    box_classes = 1 if cls_agnostic_bbox_reg else classes if input_boxes_include_bg_cls else classes - 1
    if all_boxes.shape != (total, 4 * box_classes):
        raise OperatorError(
            f"BoxWithNMSLimit: boxes {all_boxes.shape} do not fit scores {all_scores.shape}, "
            f"must be ({total}, {4 * box_classes})"
        )
    splits = [total] if batch_splits is None else [int(count) for count in batch_splits.tolist()]
    if sum(splits) != total:
        raise OperatorError(f"BoxWithNMSLimit: batch_splits add up to {sum(splits)}, not to the {total} rows of scores")
    first_score = 1 if input_boxes_include_bg_cls else 0
    plus_one = int(legacy_plus_one)
    found: list[_Detections] = []
    found_boxes = [np.empty((0, 4), np.float32)]
    start = 0
    for count in splits:
        image_scores = all_scores[start : start + count, first_score : first_score + classes - 1]
        # Boxes of the foreground classes; of one class, where all share theirs.
        image_boxes = all_boxes[start : start + count].reshape(count, box_classes, 4)
        if input_boxes_include_bg_cls and not cls_agnostic_bbox_reg:
            image_boxes = image_boxes[:, 1:]
        if soft_nms_enabled:
            detections = _soft(
                image_scores,
                image_boxes,
                score_thresh,
                sigma=soft_nms_sigma,
                threshold=nms,
                min_score=soft_nms_min_score_thres,
                gaussian=soft_nms_method == "gaussian",
                plus_one=plus_one,
            )
        else:
            detections = _hard(image_scores, image_boxes, score_thresh, nms, detections_per_im, plus_one)
        if 0 < detections_per_im < len(detections.rows):
            detections = _best(detections, detections_per_im)
        found.append(detections)
        found_boxes.append(image_boxes[detections.rows, _box_classes(image_boxes, detections.classes - 1)])
        start += count
    numbers = _concatenate([detections.classes for detections in found], np.dtype(np.float32))
    return (
        torch.from_numpy(_concatenate([detections.scores for detections in found], np.dtype(np.float32))),
        torch.from_numpy(np.concatenate(found_boxes)),
        torch.from_numpy(numbers if output_classes_include_bg_cls else numbers - 1),
        torch.tensor([len(detections.rows) for detections in found], dtype=torch.float32),
        torch.from_numpy(_concatenate([detections.rows for detections in found], np.dtype(np.int32))),
        torch.tensor(
            [np.bincount(detections.classes, minlength=classes).tolist() for detections in found], dtype=torch.int32
        ).reshape(len(found), classes),
    )


def _concatenate(arrays: list[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *(array.astype(dtype) for array in arrays)])


def _box_classes(boxes: NDArray[np.float32], classes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where in `boxes` (n, foreground or 1, 4) the boxes of foreground classes (from 0) lie."""
    return classes if boxes.shape[1] > 1 else np.zeros_like(classes)


def _matrix(tensor: Tensor, name: str) -> NDArray[np.float32]:
    if tensor.dim() == 4 and tensor.shape[2:] == (1, 1):
        tensor = tensor[:, :, 0, 0]
    if tensor.dim() != 2:
        raise OperatorError(f"BoxWithNMSLimit: {name} {tuple(tensor.shape)} must be a matrix")
    matrix: NDArray[np.float32] = tensor.detach().numpy()
    return matrix


def _hard(
    scores: NDArray[np.float32],
    boxes: NDArray[np.float32],
    score_thresh: float,
    threshold: float,
    limit: int,
    plus_one: int,
) -> _Detections:
    """NMS within each class. scores: (n, foreground), boxes: (n, foreground or 1, 4)."""
    classes, rows = np.nonzero(np.greater(scores.T, np.float32(score_thresh)))
    values = scores[rows, classes]
    order = _sort_within(classes, values)
    classes, rows, values = classes[order], rows[order], values[order]
    sizes = np.bincount(classes, minlength=scores.shape[1])
    candidates = boxes[rows, _box_classes(boxes, classes)]
    kept = grouped_nms(candidates, sizes, threshold, limit if limit > 0 else -1, plus_one)
    return _Detections(classes[kept] + 1, rows[kept], values[kept])


def _sort_within(classes: NDArray[np.intp], values: NDArray[np.float32]) -> NDArray[np.intp]:
    """The order by class and falling score, where `std::sort` sorted each class alone."""
    order = np.lexsort((-values, classes))
    in_order, sorted_values = classes[order], values[order]
    ties = (in_order[1:] == in_order[:-1]) & (sorted_values[1:] == sorted_values[:-1])
    for number in np.unique(in_order[1:][ties]):
        start, stop = np.searchsorted(in_order, [number, number + 1])
        # The candidates came class by class, so those of this class are start to stop before sorting too.
        order[start:stop] = start + descending(values[start:stop])
    return order


def _soft(
    scores: NDArray[np.float32],
    boxes: NDArray[np.float32],
    score_thresh: float,
    *,
    sigma: float,
    threshold: float,
    min_score: float,
    gaussian: bool,
    plus_one: int,
) -> _Detections:
    """Soft NMS within each class. scores: (n, foreground), boxes: (n, foreground or 1, 4)."""
    nothing = np.empty(0, np.intp)
    classes, rows, values = [nothing], [nothing], [np.empty(0, np.float32)]
    for number in range(scores.shape[1]):
        kept, lowered = soft_nms(
            boxes[:, number if boxes.shape[1] > 1 else 0],
            scores[:, number],
            np.flatnonzero(np.greater(scores[:, number], np.float32(score_thresh))),
            sigma=sigma,
            threshold=threshold,
            min_score=min_score,
            gaussian=gaussian,
            plus_one=plus_one,
        )
        classes.append(np.full(len(kept), number + 1, np.intp))
        rows.append(kept)
        values.append(lowered[kept])
    return _Detections(np.concatenate(classes), np.concatenate(rows), np.concatenate(values))


def _best(detections: _Detections, limit: int) -> _Detections:
    """The `limit` best of an image's detections, grouped by class again."""
    best = descending(detections.scores)[:limit]
    return detections[best[np.argsort(detections.classes[best], kind="stable")]]
