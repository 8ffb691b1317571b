"""GenerateProposals: the region proposals of one feature level."""

import numpy as np
import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.boxes import clip_boxes, decode_deltas
from roastery.ops.definition import new_count, operator
from roastery.ops.nms import nms
from roastery.ops.std_sort import descending, top_descending


def _fake(scores: Tensor, bbox_deltas: Tensor, im_info: Tensor, anchors: Tensor, **_: object) -> tuple[Tensor, Tensor]:
    count = new_count()
    return scores.new_empty(count, 5), scores.new_empty(count)


@operator("GenerateProposals", outputs=("rois", "rois_probs"), fake=_fake)
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
