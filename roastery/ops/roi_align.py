"""RoIAlign: the features inside each box, averaged over a grid of bins."""

from dataclasses import dataclass, replace

import onnx_ir as ir
import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.definition import operator
from roastery.ops.lowering import Lowering, f32, i64, known_size

# Taps (a cell and its weight, 12 bytes) and boxes that are worked on at once: few enough for the cache.
_MAX_TAPS = 1 << 18
_MAX_BOXES = 64
# What boxes are sorted by for ONNX Runtime: bands of so many cells, and more bands than a map has.
_BAND = 16
_ROW = 1024.0


def _fake(x: Tensor, rois: Tensor, *, order: str = "NCHW", pooled_h: int = 1, pooled_w: int = 1, **_: object) -> Tensor:
    if order == "NHWC":
        return x.new_empty(rois.shape[0], pooled_h, pooled_w, x.shape[3])
    return x.new_empty(rois.shape[0], x.shape[1], pooled_h, pooled_w)


def _lower(
    lowering: Lowering,
    x: ir.Value,
    rois: ir.Value,
    *,
    order: str,
    spatial_scale: float,
    pooled_h: int,
    pooled_w: int,
    sampling_ratio: int,
    aligned: bool,
) -> ir.Value:
    """Of a box of no size, where the samples are adaptive and Caffe2 gives NaN, it gives 0."""
    if known_size("RoIAlign", "rois", rois, 1) == 5:
        image = lowering.columns(rois, 0, 1)
        boxes = lowering.columns(rois, 1, 5)
    else:
        image = lowering("Expand", f32(0.0), lowering("Concat", lowering.size(rois, 0), i64([1]), axis=0))
        boxes = rois
    places, back = _lower_order(lowering, image, boxes, spatial_scale)
    pooled = lowering(
        "RoiAlign",
        x if order == "NCHW" else lowering("Transpose", x, perm=[0, 3, 1, 2]),
        lowering("Gather", boxes, places, axis=0),
        lowering.cast(lowering.flat(lowering("Gather", image, places, axis=0)), ir.DataType.INT64),
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        mode="avg",
        output_height=pooled_h,
        output_width=pooled_w,
        sampling_ratio=max(sampling_ratio, 0),
        spatial_scale=spatial_scale,
    )
    pooled = lowering("Gather", pooled, back, axis=0)
    return pooled if order == "NCHW" else lowering("Transpose", pooled, perm=[0, 2, 3, 1])


def _lower_order(
    lowering: Lowering, image: ir.Value, boxes: ir.Value, spatial_scale: float
) -> tuple[ir.Value, ir.Value]:
    """The order in which boxes that lie beside each other follow one another, and the way back.

    A box is read from every channel's map, each a page of memory or more apart. Of boxes in no order that takes twice
    as long as what is calculated: the box before has left nothing of the next one's cells in the cache.
    """
    left, top = lowering.several("Split", 2, lowering.columns(boxes, 0, 2), axis=1, num_outputs=2)
    band = lowering("Floor", lowering("Mul", top, f32(spatial_scale / _BAND)))
    place = lowering("Concat", lowering("Mul", left, f32(spatial_scale)), band, image, axis=1)
    key = lowering("ReduceSum", lowering("Mul", place, f32([1.0, _ROW, _ROW * _ROW])), i64([1]), keepdims=0)
    _, order = lowering.several("TopK", 2, key, lowering.size(boxes, 0), axis=0, largest=0)
    _, back = lowering.several("TopK", 2, order, lowering.size(boxes, 0), axis=0, largest=0)
    return order, back


@operator("RoIAlign", outputs=("y",), fake=_fake, lower=_lower)
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
        x: (images, C, H, W) float32; (images, H, W, C) with order "NHWC". All finite: which bins a NaN spreads to
            depends on cells of weight 0, and is not Caffe2's. Fastest in torch's channels_last layout.
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
    rows = torch.arange(len(rois))
    return pool_into(
        None,
        rows,
        len(rois),
        x,
        rois,
        order=order,
        spatial_scale=spatial_scale,
        pooled_h=pooled_h,
        pooled_w=pooled_w,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
    )


def pool_into(
    y: Tensor | None,
    rows: Tensor,
    total: int,
    x: Tensor,
    rois: Tensor,
    *,
    order: str,
    spatial_scale: float,
    pooled_h: int,
    pooled_w: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """RoIAlign of which row i goes to `y[rows[i]]`.

    Args:
        y: (total, C, pooled_h, pooled_w); (total, pooled_h, pooled_w, C) with order "NHWC"; made where it is None.
        rows: (n,) int64 in [0, total), all different.

    Returns:
        y.

    Raises:
        OperatorError: as `roi_align`; a y of another shape.
    """
    if order not in ("NCHW", "NHWC"):
        raise OperatorError(f"RoIAlign: order {order!r}, must be NCHW or NHWC")
    if x.dim() != 4:
        raise OperatorError(f"RoIAlign: features {tuple(x.shape)} must have four dimensions")
    if rois.dim() != 2 or rois.shape[1] not in (4, 5):
        raise OperatorError(f"RoIAlign: rois {tuple(rois.shape)} must be (n, 4) or (n, 5)")
    features = x.permute(0, 2, 3, 1) if order == "NCHW" else x
    images, height, width, channels = features.shape
    shape = (total, pooled_h, pooled_w, channels) if order == "NHWC" else (total, channels, pooled_h, pooled_w)
    y = x.new_empty(shape) if y is None else y
    if y.shape != shape:
        raise OperatorError(f"RoIAlign: features of {tuple(shape[1:])} do not go into {tuple(y.shape)}")
    pooled = y.permute(0, 2, 3, 1) if order == "NCHW" else y
    if len(rois) and pooled.numel():
        starts, sizes = _place(rois, spatial_scale, aligned)
        first_rows = _image_indices(rois, images) * height
        horizontal = _Axis(starts[:, 0], sizes[:, 0], pooled_w, width, sampling_ratio)
        vertical = _Axis(starts[:, 1], sizes[:, 1], pooled_h, height, sampling_ratio)
        # With a cell's channels side by side, as they already lie in torch's channels_last layout.
        table = features.contiguous().view(-1, channels)
        _pool(table, first_rows, vertical, horizontal, pooled, rows)
    return y


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
    if not bool(((indices >= 0) & (indices < images)).all()):
        raise OperatorError(f"RoIAlign: an image index lies outside [0, {images})")
    return indices


@dataclass(frozen=True)
class _Axis:
    """The samples of n boxes along one axis."""

    starts: Tensor
    """(n,) where each box starts, in cells."""
    sizes: Tensor
    bins: int
    extent: int
    """Cells of the features."""
    sampling_ratio: int

    @property
    def samples(self) -> Tensor:
        """(n,) samples of a bin."""
        if self.sampling_ratio > 0:
            return torch.full_like(self.sizes, self.sampling_ratio, dtype=torch.long)
        return (self.sizes / self.bins).ceil().long()

    @property
    def windows(self) -> Tensor:
        """(n,) cells that a bin is summed over.

        Adaptive samples lie at most one cell apart, so those of a bin touch one cell more than they are; samples of a
        fixed number may lie anywhere, and bring two cells each.
        """
        if self.sampling_ratio > 0:
            return 2 * self.samples
        return (self.samples + 1).clamp(max=self.extent)

    def __getitem__(self, rows: Tensor) -> "_Axis":
        return replace(self, starts=self.starts[rows], sizes=self.sizes[rows])

    def taps(self) -> tuple[Tensor, Tensor]:
        """Cells and weights (n, bins, largest window); of a box, those beyond its own window do not count."""
        samples = self.samples
        bin_sizes = (self.sizes / self.bins)[:, None, None]
        number = torch.arange(max(1, int(samples.max())))
        counted = number < samples[:, None, None]
        number = torch.minimum(number, (samples[:, None, None] - 1).clamp(min=0))
        places = self.starts[:, None, None] + torch.arange(self.bins)[:, None] * bin_sizes
        places = places + (number + 0.5) * (bin_sizes / samples[:, None, None].clamp(min=1))
        # A box of no size has no samples where they are adaptive: Caffe2 divides by their number and so gives NaN.
        share = (counted & (places >= -1) & (places <= self.extent)) / samples[:, None, None]
        places = places.clamp_(0, self.extent - 1)
        cells = places.long()
        upper = (places - cells) * share
        lower = share - upper
        if self.sampling_ratio > 0:
            both = torch.cat([cells, (cells + 1).clamp(max=self.extent - 1)], dim=2)
            return both, torch.cat([lower, upper], dim=2)
        first = cells[:, :, :1]
        offsets = cells - first
        # One place more than the window has, for the weight 0 that rounding may put there.
        weights = upper.new_zeros(*upper.shape[:2], upper.shape[2] + 2)
        weights.scatter_add_(2, offsets, lower).scatter_add_(2, offsets + 1, upper)
        window = (first + torch.arange(weights.shape[2])).clamp(max=self.extent - 1)
        return window, weights


def _pool(table: Tensor, first_rows: Tensor, vertical: _Axis, horizontal: _Axis, pooled: Tensor, rows: Tensor) -> None:
    """Fill `rows` of `pooled` (total, pooled_h, pooled_w, C) from `table` (images * H * W, C).

    A bin is a weighted sum of some rows of the table, which is what `embedding_bag` works out; the weights of its
    window are the product of one vector for each axis. Boxes with windows of one size go together.
    """
    windows_y, windows_x = vertical.windows, horizontal.windows
    key = windows_y * (int(windows_x.max()) + 1) + windows_x
    order = torch.argsort(key, stable=True)
    most = max(int((axis.samples.max() + 2) * axis.bins) for axis in (vertical, horizontal))
    for band in torch.split(order, max(1, _MAX_TAPS // most)):
        cells_y, weights_y = vertical[band].taps()
        cells_x, weights_x = horizontal[band].taps()
        cells_y = (first_rows[band, None, None] + cells_y) * horizontal.extent
        start = 0
        for size in torch.unique_consecutive(key[band], return_counts=True)[1].tolist():
            window_y, window_x = int(windows_y[band[start]]), int(windows_x[band[start]])
            bins = vertical.bins * horizontal.bins
            step = max(1, min(_MAX_BOXES, _MAX_TAPS // (window_y * window_x * bins)))
            for first in range(start, start + size, step):
                some = slice(first, min(first + step, start + size))
                y, x = cells_y[some, :, None, :window_y, None], cells_x[some, None, :, None, :window_x]
                weight_y, weight_x = (
                    weights_y[some, :, None, :window_y, None],
                    weights_x[some, None, :, None, :window_x],
                )
                bags = torch.nn.functional.embedding_bag(
                    (y + x).view(-1, window_y * window_x),
                    table,
                    mode="sum",
                    per_sample_weights=(weight_y * weight_x).view(-1, window_y * window_x),
                )
                pooled[rows[band[some]]] = bags.view(-1, vertical.bins, horizontal.bins, table.shape[1])
            start += size
