"""HeatmapMaxKeypoint: the peak of each keypoint's heatmap, to a fraction of a cell."""

import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.definition import operator

# Peaks move at most so far, in cells; a Hessian with a smaller determinant moves nothing.
_MAX_SHIFT = 1.5
_MIN_DETERMINANT = 1e-4


def _fake(heatmaps: Tensor, bboxes: Tensor, *, should_output_softmax: bool = False) -> Tensor:
    return heatmaps.new_empty(heatmaps.shape[0], 4, heatmaps.shape[1])


@operator("HeatmapMaxKeypoint", outputs=("keypoints",), fake=_fake)
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
