"""HeatmapMaxKeypoint: the peak of each keypoint's heatmap, to a fraction of a cell."""

from collections.abc import Sequence

import onnx_ir as ir
import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.definition import operator
from roastery.ops.lowering import Lowering, f32, i64, known_size

# Peaks move at most so far, in cells; a Hessian with a smaller determinant moves nothing.
_MAX_SHIFT = 1.5
_MIN_DETERMINANT = 1e-4


def _fake(heatmaps: Tensor, bboxes: Tensor, *, should_output_softmax: bool = False) -> Tensor:
    return heatmaps.new_empty(heatmaps.shape[0], 4, heatmaps.shape[1])


def _lower(lowering: Lowering, heatmaps: ir.Value, bboxes: ir.Value, *, should_output_softmax: bool) -> ir.Value:
    size = known_size("HeatmapMaxKeypoint", "heatmaps", heatmaps, 2)
    shape = lowering("Concat", lowering("Shape", heatmaps, end=2), i64([size * size]), axis=0)
    flat = lowering("Reshape", heatmaps, shape, allowzero=1)
    peak_place = lowering("ArgMax", flat, axis=2, keepdims=1)
    peaks = _lower_values(lowering, flat, peak_place)
    row = lowering("Div", peak_place, i64(size))
    column = lowering("Sub", peak_place, lowering("Mul", row, i64(size)))
    # The rows before, of and after each peak, and so with columns.
    rows, columns = (_lower_mirror(lowering, x, size) for x in (row, column))
    at = [
        lowering("Add", lowering("Mul", r, i64(size)), c)
        for r in lowering.several("Split", 3, rows, axis=2, num_outputs=3)
        for c in lowering.several("Split", 3, columns, axis=2, num_outputs=3)
    ]
    cells = _lower_values(lowering, flat, lowering("Concat", *at, axis=2))
    patch = lowering.several("Split", 9, cells, axis=2, num_outputs=9)
    shift_x, shift_y, height = _lower_refine(lowering, patch, peaks)
    box = lowering.columns(bboxes, 0, 4)
    low, high = lowering.several("Split", 2, lowering("Unsqueeze", box, i64([1])), axis=2, num_outputs=2)
    sides = lowering("Max", lowering("Sub", high, low), f32(1.0))
    place = lowering("Concat", column, row, axis=2)
    middle = lowering("Add", lowering.cast(place, ir.DataType.FLOAT), f32(0.5))
    moved = lowering("Add", middle, lowering("Concat", shift_x, shift_y, axis=2))
    xy = lowering("Add", low, lowering("Div", lowering("Mul", moved, sides), f32(size)))
    if should_output_softmax:
        total = lowering("ReduceSum", lowering("Exp", flat), i64([2]), keepdims=1)
        probability = lowering("Div", lowering("Exp", peaks), total)
    else:
        probability = lowering("Mul", lowering.cast(peak_place, ir.DataType.FLOAT), f32(0.0))
    return lowering("Transpose", lowering("Concat", xy, height, probability, axis=2), perm=[0, 2, 1])


def _lower_values(lowering: Lowering, maps: ir.Value, places: ir.Value) -> ir.Value:
    """What lies at places (n, K, k) of maps (n, K, cells)."""
    shape = lowering("Shape", maps, end=2)
    count = lowering("ReduceProd", shape, keepdims=0)
    first = lowering("Mul", lowering("Range", i64(0), count, i64(1)), lowering.size(maps, 2))
    first = lowering("Reshape", first, lowering("Concat", shape, i64([1]), axis=0), allowzero=1)
    return lowering("Gather", lowering.flat(maps), lowering("Add", first, places), axis=0)


def _lower_mirror(lowering: Lowering, place: ir.Value, size: int) -> ir.Value:
    """The places (n, K, 3) around each of (n, K, 1); beyond an edge they are mirrored at it."""
    around = lowering("Add", place, i64([-1, 0, 1]))
    high = lowering("Where", lowering("GreaterOrEqual", around, i64(size)), i64(size - 2), around)
    return lowering("Where", lowering("Less", around, i64(0)), i64(1), high)


def _lower_refine(
    lowering: Lowering, patch: Sequence[ir.Value], peaks: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """`_refine` in standard ONNX, of the nine cells (n, K, 1) each around a peak, row by row."""
    above_left, above, above_right, left, centre, right, below_left, below, below_right = patch
    gradient_x = lowering("Div", lowering("Sub", left, right), f32(2.0))
    gradient_y = lowering("Div", lowering("Sub", above, below), f32(2.0))
    twice = lowering("Mul", centre, f32(2.0))
    xx = lowering("Add", lowering("Sub", left, twice), right)
    yy = lowering("Add", lowering("Sub", above, twice), below)
    diagonal = lowering("Sub", lowering("Sub", below_right, below_left), above_right)
    xy = lowering("Div", lowering("Add", diagonal, above_left), f32(4.0))
    determinant = lowering("Sub", lowering("Mul", xx, yy), lowering("Mul", xy, xy))
    flat = lowering("Less", lowering("Abs", determinant), f32(_MIN_DETERMINANT))
    shift_x, shift_y = _lower_solve(lowering, xx, xy, yy, gradient_x, gradient_y)
    largest = lowering("Max", lowering("Abs", shift_x), lowering("Abs", shift_y))
    too_far = lowering("Greater", largest, f32(_MAX_SHIFT))
    shift_x, shift_y = (
        lowering("Where", too_far, lowering("Mul", lowering("Div", shift, largest), f32(_MAX_SHIFT)), shift)
        for shift in (shift_x, shift_y)
    )
    slope = lowering("Add", lowering("Mul", gradient_x, shift_x), lowering("Mul", gradient_y, shift_y))
    along_x = lowering("Mul", lowering("Mul", xx, shift_x), shift_x)
    along_y = lowering("Mul", lowering("Mul", yy, shift_y), shift_y)
    mixed = lowering("Mul", lowering("Mul", lowering("Mul", xy, f32(2.0)), shift_x), shift_y)
    curvature = lowering("Add", lowering("Add", along_x, mixed), along_y)
    height = lowering("Add", lowering("Sub", centre, slope), lowering("Mul", curvature, f32(0.5)))
    return (
        lowering("Where", flat, f32(0.0), shift_x),
        lowering("Where", flat, f32(0.0), shift_y),
        lowering("Where", flat, peaks, height),
    )


def _lower_solve(
    lowering: Lowering, xx: ir.Value, xy: ir.Value, yy: ir.Value, right_x: ir.Value, right_y: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """`_solve` in standard ONNX."""
    swap = lowering("Greater", lowering("Abs", yy), lowering("Abs", xx))
    pivot, other = lowering("Where", swap, yy, xx), lowering("Where", swap, xx, yy)
    right_pivot, right_other = lowering("Where", swap, right_y, right_x), lowering("Where", swap, right_x, right_y)
    unusable = lowering("Equal", pivot, f32(0.0))
    factor = lowering("Where", unusable, f32(0.0), lowering("Div", xy, pivot))
    second = lowering("Sub", other, lowering("Mul", factor, xy))
    none = lowering("Or", unusable, lowering("Equal", second, f32(0.0)))
    left = lowering("Sub", right_other, lowering("Mul", factor, right_pivot))
    solved_other = lowering("Where", none, f32(0.0), lowering("Div", left, second))
    solved = lowering("Where", unusable, f32(0.0), lowering("Div", right_pivot, pivot))
    solved_pivot = lowering("Sub", solved, lowering("Mul", factor, solved_other))
    return lowering("Where", swap, solved_other, solved_pivot), lowering("Where", swap, solved_pivot, solved_other)


@operator("HeatmapMaxKeypoint", outputs=("keypoints",), fake=_fake, lower=_lower)
def heatmap_max_keypoint(heatmaps: Tensor, bboxes: Tensor, *, should_output_softmax: bool = False) -> Tensor:
    """The highest cell of each heatmap, moved to the top of the parabola through its neighbours.

    Args:
        heatmaps: (n, keypoints, S, S) float32 logits, S at least 2.
        bboxes: (n, 4 or more) float32 xyxy; a width or height below 1 counts as 1.
        should_output_softmax: whether the last row is the peak's probability instead of 0.

    Returns:
        (n, 4, keypoints) float32: x, y, logit, probability.

    Raises:
        OperatorError: shapes that do not fit, or a heatmap with NaN, as RoIAlign gives for a box of zero width; genuine
            Caffe2 then finds no peak, reads foreign memory and mostly dies.

    Source: caffe2/operators/heatmap_max_keypoint_op.cc, PyTorch 1.10.
    """
    if heatmaps.dim() != 4 or heatmaps.shape[2] != heatmaps.shape[3] or heatmaps.shape[2] < 2:
        raise OperatorError(
            f"HeatmapMaxKeypoint: heatmaps {tuple(heatmaps.shape)} must be (n, keypoints, S, S), S >= 2"
        )
    if bboxes.dim() != 2 or bboxes.shape[0] != heatmaps.shape[0] or bboxes.shape[1] < 4:
        raise OperatorError(
            f"HeatmapMaxKeypoint: boxes {tuple(bboxes.shape)} do not fit heatmaps {tuple(heatmaps.shape)}"
        )
    count, keypoints, size, _ = heatmaps.shape
    flat = heatmaps.reshape(count, keypoints, size * size)
    if bool(flat.isnan().any()):
        raise OperatorError(
            "HeatmapMaxKeypoint: a heatmap holds NaN, as the features of a box of zero width are; drop such boxes first"
        )
    if count == 0 or keypoints == 0:
        return heatmaps.new_zeros(count, 4, keypoints)
    peaks = flat.max(dim=2).values
    # The first of equal peaks.
    index = (flat == peaks[..., None]).to(torch.uint8).argmax(dim=2)
    row, column = index // size, index % size
    patch = _neighbourhood(flat, row, column, size)
    shift_x, shift_y, height = _refine(patch, peaks)
    sides = (bboxes[:, 2:4] - bboxes[:, :2]).clamp(min=1.0)
    x = bboxes[:, :1] + (0.5 + column + shift_x) * sides[:, :1] / size
    y = bboxes[:, 1:2] + (0.5 + row + shift_y) * sides[:, 1:] / size
    probability = torch.zeros_like(peaks)
    if should_output_softmax:
        # Without subtracting the maximum, so that large logits overflow where Caffe2's do.
        probability = peaks.exp() / flat.exp().sum(dim=2)
    return torch.stack([x, y, height, probability], dim=1)


def _neighbourhood(flat: Tensor, row: Tensor, column: Tensor, size: int) -> Tensor:
    """The 3 x 3 cells around each peak, (n, keypoints, 3, 3); beyond an edge they are mirrored at the peak."""
    offsets = torch.arange(-1, 2)
    rows = _mirror(row[..., None] + offsets, size)
    columns = _mirror(column[..., None] + offsets, size)
    cells = (rows[..., :, None] * size + columns[..., None, :]).flatten(-2)
    return flat.gather(2, cells).reshape(*row.shape, 3, 3)


def _mirror(positions: Tensor, size: int) -> Tensor:
    return torch.where(positions < 0, 1, torch.where(positions >= size, size - 2, positions))


def _refine(patch: Tensor, peaks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One Newton step from each peak: shifts in x and in y, in cells, and the value there."""
    gradient_x = -(patch[..., 1, 2] - patch[..., 1, 0]) / 2
    gradient_y = -(patch[..., 2, 1] - patch[..., 0, 1]) / 2
    centre = patch[..., 1, 1]
    xx = patch[..., 1, 0] - 2 * centre + patch[..., 1, 2]
    yy = patch[..., 0, 1] - 2 * centre + patch[..., 2, 1]
    xy = (patch[..., 2, 2] - patch[..., 2, 0] - patch[..., 0, 2] + patch[..., 0, 0]) / 4
    flat = (xx * yy - xy * xy).abs() < _MIN_DETERMINANT
    shift_x, shift_y = _solve(xx, xy, yy, gradient_x, gradient_y)
    largest = torch.maximum(shift_x.abs(), shift_y.abs())
    too_far = largest > _MAX_SHIFT
    shift_x = torch.where(too_far, shift_x / largest * _MAX_SHIFT, shift_x)
    shift_y = torch.where(too_far, shift_y / largest * _MAX_SHIFT, shift_y)
    slope = gradient_x * shift_x + gradient_y * shift_y
    curvature = xx * shift_x * shift_x + 2 * xy * shift_x * shift_y + yy * shift_y * shift_y
    zero = torch.zeros_like(shift_x)
    return (
        torch.where(flat, zero, shift_x),
        torch.where(flat, zero, shift_y),
        torch.where(flat, peaks, centre - slope + 0.5 * curvature),
    )


def _solve(xx: Tensor, xy: Tensor, yy: Tensor, right_x: Tensor, right_y: Tensor) -> tuple[Tensor, Tensor]:
    """[[xx, xy], [xy, yy]] @ (x, y) = right, by the pivoted LDL^T that Eigen uses; a zero pivot gives zeros."""
    swap = yy.abs() > xx.abs()
    pivot, other = torch.where(swap, yy, xx), torch.where(swap, xx, yy)
    right_pivot, right_other = torch.where(swap, right_y, right_x), torch.where(swap, right_x, right_y)
    usable = pivot != 0
    factor = torch.where(usable, xy / pivot, torch.zeros_like(xy))
    second = other - factor * xy
    solved_other = torch.where(
        usable & (second != 0), (right_other - factor * right_pivot) / second, torch.zeros_like(xy)
    )
    solved_pivot = torch.where(usable, right_pivot / pivot, torch.zeros_like(xy)) - factor * solved_other
    return torch.where(swap, solved_other, solved_pivot), torch.where(swap, solved_pivot, solved_other)
