"""RoIAlign, as sums of weighted cells.

Source: He et al., Mask R-CNN (arXiv:1703.06870); sampling as torchvision's roi_align, which detectron2 0.5 calls: in
each bin a grid of points, as many as cells fit into the bin (rounded up) or `sampling_ratio` a side, each interpolated
bilinearly; a point more than one cell outside the map counts as 0, one nearer takes the border's value.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS_AT_ONCE = 1 << 22
"""Bounds the memory: a tap takes an index and a weight, 12 bytes."""


def roi_align(cells: Tensor, boxes: Tensor, size: int, scale: float, sampling_ratio: int, aligned: bool) -> Tensor:
    """Pool boxes from one feature map.

    Args:
        cells: (H, W, C) float32, contiguous: the map with its channels last.
        boxes: (n, 4) float32 xyxy, pixels of the image.
        size: bins on each side.
        scale: the map's size relative to the image.
        sampling_ratio: points on each side of a bin; 0: as many as cells fit.
        aligned: ROIAlignV2: a cell's value lies in its middle, not at its corner.

    Returns:
        (n, C, size, size) float32.
    """
    height, width, channels = cells.shape
    table = cells.reshape(height * width, channels)
    starts = boxes[:, :2] * scale - (0.5 if aligned else 0.0)
    sides = boxes[:, 2:] * scale - (0.5 if aligned else 0.0) - starts
    if not aligned:
        sides = sides.clamp(min=1.0)
    bins = sides / size
    points = torch.full_like(bins, sampling_ratio) if sampling_ratio > 0 else bins.ceil().clamp(min=0)
    pooled = cells.new_zeros(len(boxes), size * size, channels)
    # Boxes with the same number of points are pooled together: their taps form one regular table.
    for across, down in torch.unique(points.to(torch.int64), dim=0).tolist():
        if across == 0 or down == 0:
            continue
        members = ((points[:, 0] == across) & (points[:, 1] == down)).nonzero()[:, 0]
        for part in members.split(max(1, TAPS_AT_ONCE // (size * size * across * down * 4))):
            columns, column_weights = _taps(starts[part, 0], bins[part, 0], size, across, width)
            rows, row_weights = _taps(starts[part, 1], bins[part, 1], size, down, height)
            indices = rows[:, :, None, :, None] * width + columns[:, None, :, None, :]
            weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
            taps = (len(part) * size * size, down * across * 4)
            sums = F.embedding_bag(indices.reshape(taps), table, mode="sum", per_sample_weights=weights.reshape(taps))
            pooled[part] = sums.reshape(len(part), size * size, channels)
    return pooled.transpose(1, 2).reshape(len(boxes), channels, size, size)


def _taps(starts: Tensor, bins: Tensor, size: int, points: int, cells: int) -> tuple[Tensor, Tensor]:
    """Which cells of an axis a bin's points touch, and with what weight.

    Bilinear interpolation and the mean over a bin are products of one factor for each axis, and so is a point's
    lying outside the map.

    Returns:
        indices (n, size, 2 * points) int64 and weights of the same shape, which sum to 1 for a bin inside the map.
    """
    at_bin = torch.arange(size, dtype=torch.float32)[:, None]
    at_point = torch.arange(points, dtype=torch.float32) + 0.5
    starts, bins = starts[:, None, None], bins[:, None, None]
    positions = starts + at_bin * bins + at_point * bins / points
    inside = (positions >= -1.0) & (positions <= cells)
    positions = positions.clamp(0, cells - 1)
    lower = positions.floor()
    fraction = positions - lower
    upper = (lower + 1).clamp(max=cells - 1)
    weights = torch.cat([1.0 - fraction, fraction], dim=2) * torch.cat([inside, inside], dim=2) / points
    return torch.cat([lower, upper], dim=2).to(torch.int64), weights
