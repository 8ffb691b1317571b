"""Parity: do two models give the same, by tensors?

Names are compared first, then counts and shapes, then values, and all that differs is reported at once. Detections are
matched one to one within an image and a class, as two with nearly equal scores may come in either order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roastery.evaluation.comparison import (
    Comparison,
    Measure,
    Rows,
    compare_lengths,
    compare_names,
    compare_rows,
    compare_shapes,
    keypoint_distance,
    map_difference,
    map_scale,
    mask_distance,
    refuse_not_finite,
)
from roastery.structures import Instances

DETECTIONS = ("bbox_nms", "score_nms", "class_nms")
MAPS = ("mask_fcn_probs", "kps_score", "keypoints_out")
"""Outputs with a row for each detection."""
PROPOSALS = ("rpn_rois", "rpn_roi_probs")
"""Outputs with a row for each proposal: index of the image and box, and logit."""
SPLITS = "batch_splits"
INSTANCES = ("pred_boxes", "scores", "pred_classes")


@dataclass(frozen=True)
class Tolerances:
    """What may differ, each bound included.

    Attributes:
        boxes: pixels, for each coordinate.
        scores: absolute.
        maps: relative to the largest absolute value of the whole output, in either model.
        mask_iou: the least IoU of two binary masks.
        keypoints: pixels, for each coordinate.
    """

    boxes: float
    scores: float
    maps: float = 1e-3
    mask_iou: float = 0.99
    keypoints: float = 0.5


TENSOR = Tolerances(boxes=0.01, scores=1e-4)
"""Between a NetDef in a runtime and the detector that it was converted from."""

REFERENCE = Tolerances(boxes=0.05, scores=1e-3)
"""Between the detections of a converted model, of the reference and of detectron2."""


@dataclass(frozen=True)
class ParityReport:
    """Whether two models agree.

    Attributes:
        differences: a sentence for each thing that differs beyond its tolerance: names, then counts and shapes, then
            values. Where there is none, they agree.
        largest: by output, the largest difference of what could be compared: pixels for boxes, absolute for scores,
            relative to the largest value for maps, 1 - IoU for binary masks, pixels for keypoints.
    """

    differences: tuple[str, ...]
    largest: dict[str, float]

    @property
    def passed(self) -> bool:
        return not self.differences


def compare_detections(
    expected: Mapping[str, NDArray[Any]], actual: Mapping[str, NDArray[Any]], tolerances: Tolerances = TENSOR
) -> ParityReport:
    """Compare the raw outputs of two nets on the same input.

    Args:
        expected: by name: bbox_nms (n, 4) pixels, score_nms (n,), class_nms (n,), mask_fcn_probs (n, C, S, S)
            or another of `MAPS`, batch_splits (N,), or an RPN's rpn_rois (n, 5) and rpn_roi_probs (n,); and any other
            output, which is compared element by element.
        actual: likewise.
    """
    comparison = Comparison()
    compare_names("output", expected, actual, comparison)
    common = [name for name in expected if name in actual]
    # Without all that makes a detection, on both sides, there are no rows to match: then each output is as it stands.
    of_proposals = set(PROPOSALS) <= set(common)
    near = PROPOSALS if of_proposals else DETECTIONS[:2]
    rows = [name for name in common if name in DETECTIONS + MAPS] if set(DETECTIONS) <= set(common) else []
    rows = list(PROPOSALS) if of_proposals else rows
    whole = [name for name in common if name not in rows]
    matchable = not rows or compare_lengths(rows, expected, actual, comparison)
    matchable = compare_shapes(rows, expected, actual, comparison, of_rows=True) and matchable
    compare_shapes(whole, expected, actual, comparison, of_rows=False)
    refuse_not_finite(common, expected, actual, comparison)

    if rows and matchable:
        measures = {name: _map_measure(expected[name], actual[name]) for name in rows if name in MAPS}
        bounds = {near[0]: tolerances.boxes, near[1]: tolerances.scores}
        bounds |= dict.fromkeys(measures, tolerances.maps)
        as_rows = _proposals if of_proposals else _detections
        left, right = (as_rows(outputs, rows) for outputs in (expected, actual))
        compare_rows(left, right, near, measures, bounds, comparison)
    for name in whole:
        if expected[name].shape == actual[name].shape:
            bound = 0.0 if name == SPLITS else tolerances.maps
            comparison.judge(
                name, "", [_map_measure(expected[name], actual[name])(expected[name], actual[name])], bound
            )
    return ParityReport(tuple(comparison.differences), comparison.largest)


def compare_instances(expected: Instances, actual: Instances, tolerances: Tolerances = REFERENCE) -> ParityReport:
    """Compare the detections of two models in the same image.

    Args:
        expected: with pred_boxes, scores, pred_classes, and perhaps pred_masks (n, height, width) bool and
            pred_keypoints (n, K, 3); any other field is compared as a map.
        actual: likewise.
    """
    comparison = Comparison()
    left, right = (
        {name: np.asarray(getattr(value, "tensor", value)) for name, value in side.get_fields().items()}
        for side in (expected, actual)
    )
    # A field that both lack leaves nothing to match by.
    compare_names("field", dict.fromkeys([*INSTANCES, *left]), left, comparison)
    compare_names("field", left, right, comparison)
    if expected.image_size != actual.image_size:
        comparison.say(f"image size: {expected.image_size} expected, {actual.image_size} given")
    common = [name for name in left if name in right]
    matchable = set(INSTANCES) <= set(common) and compare_lengths(common, left, right, comparison)
    matchable = compare_shapes(common, left, right, comparison, of_rows=True) and matchable
    refuse_not_finite(common, left, right, comparison)

    if matchable:
        own: dict[str, Measure] = {"pred_masks": mask_distance, "pred_keypoints": keypoint_distance}
        measures = {
            name: own.get(name) or _map_measure(left[name], right[name]) for name in common if name not in INSTANCES
        }
        bounds = {"pred_boxes": tolerances.boxes, "scores": tolerances.scores}
        bounds |= dict.fromkeys(measures, tolerances.maps)
        bounds |= {"pred_masks": 1.0 - tolerances.mask_iou, "pred_keypoints": tolerances.keypoints}
        rows = [Rows(np.zeros(len(side["scores"]), np.int64), side["pred_classes"], side) for side in (left, right)]
        compare_rows(rows[0], rows[1], INSTANCES[:2], measures, bounds, comparison)
    return ParityReport(tuple(comparison.differences), comparison.largest)


def _map_measure(expected: NDArray[Any], actual: NDArray[Any]) -> Measure:
    return partial(map_difference, scale=map_scale(expected, actual))


def _proposals(outputs: Mapping[str, NDArray[Any]], names: list[str]) -> Rows:
    rois, logits = (outputs[name] for name in PROPOSALS)
    images = np.nan_to_num(rois[:, 0]).astype(np.int64)
    return Rows(images, np.zeros(len(rois)), {"rpn_rois": rois[:, 1:], "rpn_roi_probs": logits.reshape(-1)})


def _detections(outputs: Mapping[str, NDArray[Any]], names: list[str]) -> Rows:
    count = len(outputs["bbox_nms"])
    images = np.zeros(count, np.int64)
    if SPLITS in outputs:
        splits = np.nan_to_num(outputs[SPLITS].reshape(-1)).astype(np.int64)
        # Splits that do not add up differ from the other side's, or are NaN; that is said elsewhere.
        if (splits >= 0).all() and splits.sum() == count:
            images = np.repeat(np.arange(len(splits)), splits)
    return Rows(images, outputs["class_nms"].reshape(-1), {name: outputs[name] for name in names})
