"""GenerateProposals: the region proposals of one feature level."""

from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops import lowered_boxes
from roastery.ops.boxes import clip_boxes, decode_deltas
from roastery.ops.definition import new_count, operator
from roastery.ops.lowering import ALL, NOTHING, Lowering, f32, i64, known_size
from roastery.ops.nms import nms
from roastery.ops.std_sort import descending, top_descending


def _fake(scores: Tensor, bbox_deltas: Tensor, im_info: Tensor, anchors: Tensor, **_: object) -> tuple[Tensor, Tensor]:
    count = new_count()
    return scores.new_empty(count, 5), scores.new_empty(count)


def _lower(
    lowering: Lowering,
    scores: ir.Value,
    bbox_deltas: ir.Value,
    im_info: ir.Value,
    anchors: ir.Value,
    *,
    spatial_scale: float,
    pre_nms_topN: int,
    post_nms_topN: int,
    nms_thresh: float,
    min_size: float,
    legacy_plus_one: bool,
    **_: Any,
) -> tuple[ir.Value, ir.Value]:
    images = known_size("GenerateProposals", "im_info", im_info, 0)
    plus_one = int(legacy_plus_one)
    width = lowering.size(scores, 3)
    cells = lowering("Mul", lowering.size(scores, 2), width)
    stride = np.float32(1.0 / float(np.float32(spatial_scale)))
    rois, probabilities = [], []
    each = (lowering.each_image(x, images) for x in (scores, bbox_deltas, im_info))
    for image, (image_scores, image_deltas, info) in enumerate(zip(*each, strict=True)):
        best, order = lowering.best(lowering.flat(image_scores), pre_nms_topN if pre_nms_topN > 0 else ALL)
        moved = _lower_moves(lowering, lowering.flat(image_deltas), anchors, order, cells, width, stride, plus_one)
        width_and_height = lowering("Gather", info, i64([1, 0]), axis=1)
        size = lowering("Concat", *([lowering("Floor", width_and_height)] * 2), axis=1)
        boxes = lowered_boxes.clip_boxes(lowering, moved, size, plus_one)
        least = lowering("Mul", lowering.columns(info, 2, 3), f32(min_size))
        fits = _lower_large_and_inside(lowering, boxes, least, width_and_height, plus_one)
        kept = lowered_boxes.non_maximum_suppression(
            lowering,
            lowering("Unsqueeze", boxes, i64([0])),
            lowering("Unsqueeze", lowering("Where", fits, best, NOTHING), i64([0, 1])),
            threshold=nms_thresh,
            limit=post_nms_topN,
            plus_one=plus_one,
        )
        rows = lowering.flat(lowering.columns(kept, 2, 3))
        # The image's index goes before its boxes.
        found = lowering("Gather", boxes, rows, axis=0)
        rois.append(lowering("Pad", found, i64([1, 0]), f32(image), i64([1])))
        probabilities.append(lowering("Gather", best, rows, axis=0))
    return lowering.concat(rois), lowering.concat(probabilities)


def _lower_moves(
    lowering: Lowering,
    deltas: ir.Value,
    anchors: ir.Value,
    order: ir.Value,
    cells: ir.Value,
    width: ir.Value,
    stride: np.float32,
    plus_one: int,
) -> ir.Value:
    """The boxes (n, 4) of the anchors that `order` numbers over (A, H, W); `deltas` are over (A, 4, H, W)."""
    anchor = lowering("Div", order, cells)
    first = lowering("Mul", anchor, cells)
    cell = lowering("Sub", order, first)
    row = lowering("Div", cell, width)
    column = lowering("Sub", cell, lowering("Mul", row, width))
    places = lowering("Concat", *([lowering("Unsqueeze", x, i64([1])) for x in (column, row)] * 2), axis=1)
    shifts = lowering("Mul", lowering.cast(places, ir.DataType.FLOAT), stride)
    moved = lowering("Add", lowering("Gather", anchors, anchor, axis=0), shifts)
    of_anchor = lowering("Unsqueeze", lowering("Add", order, lowering("Mul", first, i64(3))), i64([1]))
    taken = lowering("Gather", deltas, lowering("Add", of_anchor, lowering("Mul", cells, i64([0, 1, 2, 3]))), axis=0)
    return lowered_boxes.decode_deltas(lowering, moved, taken, [1.0] * 4, plus_one)


def _lower_large_and_inside(
    lowering: Lowering, boxes: ir.Value, least: ir.Value, size: ir.Value, plus_one: int
) -> ir.Value:
    low, high = lowering.several("Split", 2, boxes, axis=1, num_outputs=2)
    sides = lowering("Sub", high, low)
    if plus_one:
        sides = lowering("Add", sides, f32(1.0))
    centres = lowering("Add", low, lowering("Div", sides, f32(2.0)))
    both = lowering("And", lowering("GreaterOrEqual", sides, least), lowering("Less", centres, size))
    across, down = lowering.several("Split", 2, both, axis=1, num_outputs=2)
    return lowering.flat(lowering("And", across, down))


@operator("GenerateProposals", outputs=("rois", "rois_probs"), fake=_fake, lower=_lower)
def generate_proposals(
    scores: Tensor,
    bbox_deltas: Tensor,
    im_info: Tensor,
    anchors: Tensor,
    *,
    spatial_scale: float = 1.0 / 16,
    pre_nms_topN: int = 6000,
    post_nms_topN: int = 300,
    nms_thresh: float = 0.7,
    min_size: float = 16.0,
    angle_bound_on: bool = True,
    angle_bound_lo: int = -90,
    angle_bound_hi: int = 90,
    clip_angle_thresh: float = 1.0,
    legacy_plus_one: bool = True,
) -> tuple[Tensor, Tensor]:
    """For each image the best anchors, moved by their deltas, cut to the image, sieved by size and by NMS.

    Args:
        scores: (images, A, H, W) float32; any number that sorts, mostly logits.
        bbox_deltas: (images, 4A, H, W) float32.
        im_info: (images, 3) float32: height, width, scale.
        anchors: (A, 4) float32 xyxy around the first cell; others are moved by 1 / spatial_scale pixels a cell.
        pre_nms_topN: anchors that are decoded; 0 or fewer for all.
        post_nms_topN: proposals of an image at most; 0 or fewer for all.
        nms_thresh: the largest overlap that two proposals of an image have.
        min_size: the least width and height, in pixels before scaling.
        angle_bound_on, angle_bound_lo, angle_bound_hi, clip_angle_thresh: of rotated boxes only, not used.

    Returns:
        rois: (n, 5) float32: image index, xyxy; images in order, each by falling score.
        rois_probs: (n,) float32, their scores.

    Where scores tie, the order is that of libstdc++'s sort, over (A, H, W) (see `std_sort`).

    Raises:
        OperatorError: shapes that do not fit, rotated anchors.

    Source: caffe2/operators/generate_proposals_op.cc, PyTorch 1.10.
    """
    _check_shapes(scores, bbox_deltas, im_info, anchors)
    stride = float(np.float32(1.0 / float(np.float32(spatial_scale))))
    plus_one = int(legacy_plus_one)
    rois, probabilities = [], []
    for image, (height, width, scale) in enumerate(im_info.tolist()):
        flat_scores = scores[image].reshape(-1)
        order = _best(flat_scores, pre_nms_topN)
        boxes = _decode(bbox_deltas[image], anchors, order, stride, plus_one)
        clip_boxes(boxes, int(height), int(width), plus_one)
        large = _large_and_inside(boxes, float(np.float32(min_size)) * scale, height, width, plus_one)
        order, boxes = order[large], boxes[large]
        limit = post_nms_topN if 0 < post_nms_topN < len(boxes) else -1
        kept = torch.from_numpy(nms(boxes.numpy(), nms_thresh, limit, plus_one))
        image_rois = boxes.new_full((len(kept), 5), image)
        image_rois[:, 1:] = boxes[kept]
        rois.append(image_rois)
        probabilities.append(flat_scores[order[kept]])
    if not rois:
        return scores.new_empty(0, 5), scores.new_empty(0)
    return torch.cat(rois), torch.cat(probabilities)


def _check_shapes(scores: Tensor, bbox_deltas: Tensor, im_info: Tensor, anchors: Tensor) -> None:
    if anchors.dim() == 2 and anchors.shape[1] == 5:
        raise OperatorError("GenerateProposals: anchors (A, 5) are rotated boxes, which are not supported")
    if scores.dim() != 4 or anchors.shape != (scores.shape[1], 4):
        raise OperatorError(
            f"GenerateProposals: anchors {tuple(anchors.shape)} do not fit scores {tuple(scores.shape)}"
        )
    images, per_cell, height, width = scores.shape
    if bbox_deltas.shape != (images, 4 * per_cell, height, width):
        raise OperatorError(
            f"GenerateProposals: deltas {tuple(bbox_deltas.shape)} do not fit scores {tuple(scores.shape)}"
        )
    if im_info.shape != (images, 3):
        raise OperatorError(f"GenerateProposals: im_info {tuple(im_info.shape)} must be ({images}, 3)")


def _best(scores: Tensor, count: int) -> Tensor:
    """Indices of the `count` best of (n,) scores, or of all, best first."""
    if count <= 0 or count >= len(scores):
        return torch.from_numpy(descending(scores.numpy()))
    # One more than asked for, because a tie across the cut counts too.
    values, order = scores.topk(count + 1)
    if bool((values[:-1] > values[1:]).all()):
        return order[:count]
    return torch.from_numpy(top_descending(scores.numpy(), count))


def _decode(bbox_deltas: Tensor, anchors: Tensor, order: Tensor, stride: float, plus_one: int) -> Tensor:
    """The boxes (n, 4) of the anchors that `order` numbers over (A, H, W)."""
    height, width = bbox_deltas.shape[1:]
    cells = height * width
    anchor, cell = order // cells, order % cells
    shifts = torch.stack([cell % width, cell // width], dim=1).float() * stride
    deltas = bbox_deltas.reshape(-1, 4, cells)[anchor, :, cell]
    moved = anchors[anchor] + torch.cat([shifts, shifts], dim=1)
    return decode_deltas(moved, deltas[:, None], [1.0] * 4, plus_one)[:, 0]


def _large_and_inside(boxes: Tensor, min_side: float, height: float, width: float, plus_one: int) -> Tensor:
    sides = boxes[:, 2:] - boxes[:, :2] + plus_one
    centres = boxes[:, :2] + sides / 2
    return (sides >= min_side).all(1) & (centres[:, 0] < width) & (centres[:, 1] < height)
