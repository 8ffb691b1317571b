"""Box arithmetic and non-maximum suppression in standard ONNX, as `boxes.py` and `nms.py` do it."""

import numpy as np
import onnx_ir as ir

from roastery.ops.boxes import MAX_LOG_SCALE
from roastery.ops.lowering import ALL, NOTHING, Lowering, Operand, f32, i64


def decode_deltas(
    lowering: Lowering, boxes: ir.Value, deltas: ir.Value, weights: list[float], plus_one: int
) -> ir.Value:
    """Boxes (..., 4) moved and scaled by deltas (..., 4), which broadcast: see `boxes.decode_deltas`."""
    low, high = lowering.several("Split", 2, boxes, axis=-1, num_outputs=2)
    shift, log_scale = lowering.several("Split", 2, deltas, axis=-1, num_outputs=2)
    sides = lowering("Sub", high, low)
    if plus_one:
        sides = lowering("Add", sides, f32(1.0))
    centres = lowering("Add", low, lowering("Mul", sides, f32(0.5)))
    if any(weight != 1.0 for weight in weights):
        shift = lowering("Div", shift, f32(weights[:2]))
        log_scale = lowering("Div", log_scale, f32(weights[2:]))
    scale = lowering("Exp", lowering("Min", log_scale, f32(MAX_LOG_SCALE)))
    centres = lowering("Add", lowering("Mul", shift, sides), centres)
    halves = lowering("Mul", lowering("Mul", scale, sides), f32(0.5))
    upper = lowering("Add", centres, halves)
    if plus_one:
        upper = lowering("Sub", upper, f32(1.0))
    return lowering("Concat", lowering("Sub", centres, halves), upper, axis=-1)


def in_fours(lowering: Lowering, x: ir.Value) -> ir.Value:
    """(n, 4 * k) as (n, k, 4), also where n is 0."""
    groups = lowering("Div", lowering.size(x, 1), i64([4]))
    return lowering("Reshape", x, lowering("Concat", lowering.size(x, 0), groups, i64([4]), axis=0), allowzero=1)


def clip_boxes(lowering: Lowering, boxes: ir.Value, size: ir.Value, plus_one: int) -> ir.Value:
    """Boxes (..., 4) cut to images of `size` (..., 4): width, height, width, height."""
    largest = lowering("Sub", size, f32(1.0)) if plus_one else size
    return lowering("Max", lowering("Min", boxes, largest), f32(0.0))


def non_maximum_suppression(
    lowering: Lowering,
    boxes: ir.Value,
    scores: ir.Value,
    *,
    threshold: float,
    limit: int,
    plus_one: int,
    score_thresh: float = float(np.finfo(np.float32).min),
) -> ir.Value:
    """Which boxes are kept: (k, 3) int64, group, class, row; by rising group and class, then by falling score.

    Args:
        boxes: (groups, R, 4) float32 xyxy.
        scores: (groups, classes, R) float32.
        threshold: the largest overlap that is kept.
        limit: the most that are kept of each class; 0 or fewer for all.
        plus_one: 1 for `legacy_plus_one`, else 0.
        score_thresh: what scores no more is no candidate.
    """
    if plus_one:
        boxes = lowering("Add", boxes, f32([0.0, 0.0, 1.0, 1.0]))
    else:
        scores = _one_without_area(lowering, boxes, scores)
    most = i64([limit if limit > 0 else ALL])
    bounds: list[Operand] = [most, f32([threshold]), f32([score_thresh])]
    return lowering("NonMaxSuppression", boxes, scores, *bounds)


def _one_without_area(lowering: Lowering, boxes: ir.Value, scores: ir.Value) -> ir.Value:
    """The scores, those of all boxes without area but the best of each class being nothing.

    Two such boxes overlap by NaN, which suppresses in Caffe2; NonMaxSuppression lets it pass.
    """
    low, high = lowering.several("Split", 2, boxes, axis=-1, num_outputs=2)
    areas = lowering("ReduceProd", lowering("Sub", high, low), i64([-1]), keepdims=0)
    empty = lowering("Unsqueeze", lowering("Equal", areas, f32(0.0)), i64([1]))
    of_empty = lowering("Where", empty, scores, NOTHING)
    # One more row, as ArgMax takes no axis of none.
    padded = lowering("Pad", of_empty, i64([0, 1]), NOTHING, i64([2]))
    best = lowering("ArgMax", padded, axis=2, keepdims=1)
    rows = lowering("Range", i64(0), lowering("Squeeze", lowering.size(scores, 2)), i64(1))
    others = lowering("And", empty, lowering("Not", lowering("Equal", rows, best)))
    return lowering("Where", others, NOTHING, scores)
