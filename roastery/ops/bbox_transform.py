"""BBoxTransform: RoIs and box deltas to boxes."""

from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops import lowered_boxes
from roastery.ops.boxes import clip_boxes, decode_deltas
from roastery.ops.definition import operator
from roastery.ops.lowering import Lowering, f32, i64, known_size, refuse


def _fake(rois: Tensor, deltas: Tensor, im_info: Tensor, **_: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(deltas), im_info.new_empty(im_info.shape[0])


def _lower(
    lowering: Lowering,
    rois: ir.Value,
    deltas: ir.Value,
    im_info: ir.Value,
    *,
    weights: list[float],
    apply_scale: bool,
    rotated: bool,
    legacy_plus_one: bool,
    **_: Any,
) -> tuple[ir.Value, ir.Value]:
    if rotated:
        raise refuse("BBoxTransform", "a rotated box")
    images = known_size("BBoxTransform", "im_info", im_info, 0)
    if known_size("BBoxTransform", "rois", rois, 1) == 5:
        image = lowering.cast(lowering.columns(rois, 0, 1), ir.DataType.INT64)
        # (n, 1, 3): of each RoI's image.
        info = lowering("Gather", im_info, image, axis=0)
        of_image = lowering("Equal", image, i64(list(range(images))))
        splits = lowering("ReduceSum", lowering.cast(of_image, ir.DataType.FLOAT), i64([0]), keepdims=0)
        boxes = lowering.columns(rois, 1, 5)
    else:
        info = lowering("Unsqueeze", im_info, i64([1]))
        splits = lowering.cast(lowering.size(rois, 0), ir.DataType.FLOAT)
        boxes = rois
    height, width, scale = lowering.several("Split", 3, info, axis=2, num_outputs=3)
    size = lowering("Concat", width, height, width, height, axis=2)
    size = lowering("Floor", lowering("Add", lowering("Div", size, scale), f32(0.5)))
    unscaled = lowering("Div", lowering("Unsqueeze", boxes, i64([1])), scale)
    per_class = lowered_boxes.in_fours(lowering, deltas)
    moved = lowered_boxes.decode_deltas(lowering, unscaled, per_class, weights, int(legacy_plus_one))
    clipped = lowered_boxes.clip_boxes(lowering, moved, size, int(legacy_plus_one))
    if apply_scale:
        clipped = lowering("Mul", clipped, scale)
    return lowering("Reshape", clipped, lowering("Shape", deltas), allowzero=1), splits


@operator("BBoxTransform", outputs=("box_out", "roi_batch_splits"), fake=_fake, lower=_lower)
def bbox_transform(
    rois: Tensor,
    deltas: Tensor,
    im_info: Tensor,
    *,
    weights: list[float] = [1.0, 1.0, 1.0, 1.0],  # noqa: B006 (the signature is the operator's definition)
    apply_scale: bool = True,
    rotated: bool = False,
    angle_bound_on: bool = True,
    angle_bound_lo: int = -90,
    angle_bound_hi: int = 90,
    clip_angle_thresh: float = 1.0,
    legacy_plus_one: bool = True,
) -> tuple[Tensor, Tensor]:
    """Boxes of each class, cut to the image.

    The RoIs are divided by the image's scale and the boxes cut to the rounded size that the image had before scaling;
    with `apply_scale` they are scaled back.

    Args:
        rois: (n, 4) float32 xyxy, for one image, or (n, 5) with a leading image index, images in rising order.
        deltas: (n, 4 * classes) float32.
        im_info: (images, 3) float32: height, width, scale.
        weights: four divisors of the deltas.
        angle_bound_on, angle_bound_lo, angle_bound_hi, clip_angle_thresh: of rotated boxes only, not used.

    Returns:
        box_out: (n, 4 * classes) float32 xyxy.
        roi_batch_splits: (images,) float32, RoIs of each image.

    Raises:
        OperatorError: shapes that do not fit, an image index out of range, rotated boxes.

    Source: caffe2/operators/bbox_transform_op.cc, PyTorch 1.10.
    """
    if rotated:
        raise OperatorError("BBoxTransform: rotated boxes are not supported; set rotated to 0")
    if len(weights) != 4:
        raise OperatorError(f"BBoxTransform: {len(weights)} weights, must be 4")
    if rois.dim() != 2 or rois.shape[1] not in (4, 5):
        raise OperatorError(f"BBoxTransform: rois {tuple(rois.shape)} must be (n, 4) or (n, 5)")
    if deltas.dim() != 2 or deltas.shape[0] != rois.shape[0] or deltas.shape[1] % 4:
        raise OperatorError(f"BBoxTransform: deltas {tuple(deltas.shape)} must be ({rois.shape[0]}, 4 * classes)")
    if im_info.dim() != 2 or im_info.shape[1] != 3:
        raise OperatorError(f"BBoxTransform: im_info {tuple(im_info.shape)} must be (images, 3)")
    counts = _count_per_image(rois, im_info.shape[0])
    plus_one = int(legacy_plus_one)
    pieces = []
    per_class = deltas.reshape(len(rois), deltas.shape[1] // 4, 4)
    images = zip(torch.split(rois[:, -4:], counts), torch.split(per_class, counts), im_info, strict=True)
    for boxes, image_deltas, (height, width, scale) in images:
        unscaled = boxes if float(scale) == 1.0 else boxes / scale
        decoded = decode_deltas(unscaled, image_deltas, weights, plus_one)
        clip_boxes(decoded, int(height / scale + 0.5), int(width / scale + 0.5), plus_one)
        pieces.append(decoded * scale if apply_scale and float(scale) != 1.0 else decoded)
    boxes_out = torch.cat(pieces).reshape(deltas.shape) if pieces else torch.empty_like(deltas)
    return boxes_out, torch.tensor(counts, dtype=torch.float32)


def _count_per_image(rois: Tensor, images: int) -> list[int]:
    if rois.shape[1] == 4:
        if images != 1:
            raise OperatorError(f"BBoxTransform: rois without image indices, but im_info of {images} images")
        return [rois.shape[0]]
    indices = rois[:, 0].long()
    if not bool(((indices >= 0) & (indices < images)).all()):
        raise OperatorError(f"BBoxTransform: an image index lies outside [0, {images})")
    counts: list[int] = torch.bincount(indices, minlength=images).tolist()
    return counts
