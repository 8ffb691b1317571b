"""Box arithmetic that BBoxTransform and GenerateProposals share.

Source: caffe2/operators/generate_proposals_op_util_boxes.h, PyTorch 1.10.
"""

import math

import torch
from torch import Tensor

# The largest log-scale of a width or height; the delta of a side is cut off there.
MAX_LOG_SCALE = math.log(1000.0 / 16.0)


def decode_deltas(boxes: Tensor, deltas: Tensor, weights: list[float], plus_one: int) -> Tensor:
    """Boxes moved and scaled by deltas.

    Args:
        boxes: (n, 4) float32 xyxy.
        deltas: (n, k, 4) float32: dx, dy in widths and heights, dw, dh in logarithms.
        weights: the four divisors of the deltas.
        plus_one: 1 where x2 and y2 are the last pixel's index (`legacy_plus_one`), else 0.

    Returns:
        (n, k, 4) float32 xyxy.
    """
    decoded = torch.empty_like(deltas)
    for axis in (0, 1):
        sides = boxes[:, axis + 2, None] - boxes[:, axis, None] + plus_one
        centres = boxes[:, axis, None] + 0.5 * sides
        shift, log_scale = deltas[..., axis] / weights[axis], deltas[..., axis + 2] / weights[axis + 2]
        new_centres = shift * sides + centres
        half_sides = 0.5 * (log_scale.clamp_(max=MAX_LOG_SCALE).exp_() * sides)
        torch.sub(new_centres, half_sides, out=decoded[..., axis])
        torch.add(new_centres, half_sides, out=decoded[..., axis + 2])
        if plus_one:
            decoded[..., axis + 2] -= 1
    return decoded


def clip_boxes(boxes: Tensor, height: int, width: int, plus_one: int) -> Tensor:
    """(..., 4) boxes cut to an image of `height` x `width` pixels, in place."""
    boxes[..., 0::2].clamp_(max=width - plus_one).clamp_(min=0)
    boxes[..., 1::2].clamp_(max=height - plus_one).clamp_(min=0)
    return boxes
