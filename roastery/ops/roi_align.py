"""RoIAlign: the features inside each box, averaged over a grid of bins."""

import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.definition import operator

# Taps (indices with their weights, 8 bytes each) that are held at once.
_MAX_TAPS = 1 << 20


def _fake(x: Tensor, rois: Tensor, *, order: str = "NCHW", pooled_h: int = 1, pooled_w: int = 1, **_: object) -> Tensor:
    if order == "NHWC":
        return x.new_empty(rois.shape[0], pooled_h, pooled_w, x.shape[3])
    return x.new_empty(rois.shape[0], x.shape[1], pooled_h, pooled_w)


@operator("RoIAlign", outputs=("y",), fake=_fake)
def roi_align(
    x: Tensor,
    rois: Tensor,
    *,
    order: str = "NCHW",
    spatial_scale: float = 1.0,
    pooled_h: int = 1,
    pooled_w: int = 1,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """For each bin of each box the mean of bilinear samples.

    Args:
        x: (images, C, H, W) float32; (images, H, W, C) with order "NHWC".
        rois: (n, 5) float32: image index, xyxy in pixels of the image; or (n, 4), which are of image 0.
        spatial_scale: cells a pixel.
        pooled_h, pooled_w: bins.
        sampling_ratio: samples of a bin along each axis; 0 or fewer for one a cell, rounded up.
        aligned: whether a pixel's centre lies at .5, as detectron2's ROIAlignV2 has it. Without it a box of less than
            a cell counts as one cell; with it, a box of no width or height gives NaN where the samples are adaptive.

    Returns:
        (n, C, pooled_h, pooled_w) float32; (n, pooled_h, pooled_w, C) with order "NHWC".

    Raises:
        OperatorError: shapes that do not fit, an image index out of range; with `aligned`, a box of negative size, of
            which genuine Caffe2 aborts; a box that is not finite.

    Source: caffe2/operators/roi_align_op.cc, PyTorch 1.10.
    """
    if order not in ("NCHW", "NHWC"):
        raise OperatorError(f"RoIAlign: order {order!r}, must be NCHW or NHWC")
    if x.dim() != 4:
        raise OperatorError(f"RoIAlign: features {tuple(x.shape)} must have four dimensions")
    if rois.dim() != 2 or rois.shape[1] not in (4, 5):
        raise OperatorError(f"RoIAlign: rois {tuple(rois.shape)} must be (n, 4) or (n, 5)")
    features = x.permute(0, 2, 3, 1) if order == "NCHW" else x
    images, height, width, channels = features.shape
    pooled = rois.new_empty(rois.shape[0], pooled_h, pooled_w, channels)
    if pooled.numel():
        starts, sizes = _place(rois, spatial_scale, aligned)
        first_rows = _image_indices(rois, images) * height
        _pool(features.reshape(-1, channels), (height, width), first_rows, starts, sizes, sampling_ratio, pooled)
    return pooled.permute(0, 3, 1, 2).contiguous() if order == "NCHW" else pooled


def _place(rois: Tensor, spatial_scale: float, aligned: bool) -> tuple[Tensor, Tensor]:
    """Where each box starts and how large it is, in cells: (n, 2) each, x first."""
    corners = rois[:, -4:] * spatial_scale - (0.5 if aligned else 0.0)
    starts, sizes = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not bool(corners.isfinite().all()):
        raise OperatorError("RoIAlign: a RoI is not finite")
    if not aligned:
        return starts, sizes.clamp(min=1.0)
    if bool((sizes < 0).any()):
        raise OperatorError("RoIAlign: a RoI has a negative width or height, which aligned=1 does not take")
    return starts, sizes


def _image_indices(rois: Tensor, images: int) -> Tensor:
    if rois.shape[1] == 4:
        return torch.zeros(len(rois), dtype=torch.long)
    indices = rois[:, 0].long()
    if not (0 <= int(indices.min()) and int(indices.max()) < images):
        raise OperatorError(f"RoIAlign: an image index lies outside [0, {images})")
    return indices


def _pool(
    table: Tensor,
    extent: tuple[int, int],
    first_rows: Tensor,
    starts: Tensor,
    sizes: Tensor,
    sampling_ratio: int,
    pooled: Tensor,
) -> None:
    """Fill `pooled` (n, pooled_h, pooled_w, C) from `table` (images * H * W, C).

    A bin is a weighted sum of a few rows of the table, which is what `embedding_bag` works out. Samples lie at most one
    cell apart along each axis, so those of a bin touch a window of (samples + 1) cells, and a window's weights are the
    product of one vector for each axis. Boxes with windows of one size go together.
    """
    bins_h, bins_w = pooled.shape[1:3]
    height, width = extent
    windows_x, windows_y = (
        _window_sizes(sizes[:, axis] / bins, sampling_ratio) for axis, bins in ((0, bins_w), (1, bins_h))
    )
    key = windows_y * (int(windows_x.max()) + 1) + windows_x
    order = torch.argsort(key, stable=True)
    counts = torch.unique_consecutive(key[order], return_counts=True)[1].tolist()
    for group in order.split(counts):
        taps = int(windows_x[group[0]] * windows_y[group[0]]) * bins_h * bins_w
        for rows in group.split(max(1, _MAX_TAPS // taps)):
            y, weights_y = _taps(starts[rows, 1], sizes[rows, 1], bins_h, height, sampling_ratio)
            x, weights_x = _taps(starts[rows, 0], sizes[rows, 0], bins_w, width, sampling_ratio)
            cells = ((first_rows[rows, None, None] + y) * width)[:, :, None, :, None] + x[:, None, :, None, :]
            weights = weights_y[:, :, None, :, None] * weights_x[:, None, :, None, :]
            bags = torch.nn.functional.embedding_bag(
                cells.reshape(len(rows) * bins_h * bins_w, -1),
                table,
                mode="sum",
                per_sample_weights=weights.reshape(len(rows) * bins_h * bins_w, -1),
            )
            pooled[rows] = bags.reshape(len(rows), bins_h, bins_w, table.shape[1])


def _window_sizes(bin_sizes: Tensor, sampling_ratio: int) -> Tensor:
    if sampling_ratio > 0:
        return torch.full_like(bin_sizes, 2 * sampling_ratio, dtype=torch.long)
    return bin_sizes.ceil().long() + 1


def _taps(starts: Tensor, sizes: Tensor, bins: int, extent: int, sampling_ratio: int) -> tuple[Tensor, Tensor]:
    """Cells and weights (n, bins, window) along one axis, of boxes with equally many samples a bin."""
    bin_sizes = (sizes / bins)[:, None, None]
    samples = sampling_ratio if sampling_ratio > 0 else int(bin_sizes[0].ceil())
    places = starts[:, None, None] + torch.arange(bins)[:, None] * bin_sizes
    places = places + (torch.arange(samples) + 0.5) * (bin_sizes / samples)
    inside = (places >= -1) & (places <= extent)
    places = places.clamp(0, extent - 1)
    low = places.floor()
    upper_weight = (places - low) * inside / samples
    lower_weight = inside / samples - upper_weight
    cells = low.long()
    if sampling_ratio > 0:
        cells = torch.cat([cells, (cells + 1).clamp(max=extent - 1)], dim=2)
        return cells, torch.cat([lower_weight, upper_weight], dim=2)
    if samples == 0:
        # Caffe2 divides by the number of samples.
        return cells.new_zeros(len(starts), bins, 1), upper_weight.new_full((len(starts), bins, 1), torch.nan)
    first = cells[:, :, :1]
    offsets = cells - first
    # One place more than the window has, for the weight 0 that rounding may put there.
    weights = upper_weight.new_zeros(len(starts), bins, samples + 2)
    weights.scatter_add_(2, offsets, lower_weight).scatter_add_(2, offsets + 1, upper_weight)
    window = (first + torch.arange(samples + 1)).clamp(max=extent - 1)
    return window, weights[:, :, :-1]
