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
    sides = boxes[:, 2:] - boxes[:, :2] + plus_one
    centres = boxes[:, :2] + 0.5 * sides
    # One division by a tensor of divisors, because Caffe2 rounds x / weight and not x * (1 / weight).
    scaled = deltas if all(weight == 1.0 for weight in weights) else deltas / deltas.new_tensor(weights)
    new_centres = scaled[..., :2] * sides[:, None] + centres[:, None]
    half_sides = 0.5 * (scaled[..., 2:].clamp(max=MAX_LOG_SCALE).exp() * sides[:, None])
    return torch.cat([new_centres - half_sides, new_centres + half_sides - plus_one], dim=-1)


def clip_boxes(boxes: Tensor, height: int, width: int, plus_one: int) -> Tensor:
    """(..., 4) boxes cut to an image of `height` x `width` pixels, in place."""
    boxes[..., 0::2].clamp_(max=width - plus_one).clamp_(min=0)
    boxes[..., 1::2].clamp_(max=height - plus_one).clamp_(min=0)
    return boxes
