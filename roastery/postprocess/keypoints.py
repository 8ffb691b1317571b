"""Keypoints from heatmaps.

Source: detectron2 0.5, structures/keypoints.py (heatmaps_to_keypoints) and roi_heads/keypoint_head.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_PIXELS = 1 << 28
"""Of a box's heatmaps together, once they are stretched over it: more is no box of an image."""


def decode_keypoints(heatmaps: Tensor, boxes: Tensor) -> Tensor:
    """The highest point of each heatmap once it is stretched over its box, bicubically.

    Args:
        heatmaps: (n, K, S, S) float32 logits.
        boxes: (n, 4) float32 xyxy pixels; a side below 1 counts as 1.

    Returns:
        (n, K, 3) float32: x and y in pixels, and the score: the peak's share of the heatmap as it was before it was
        stretched, so that those of small and large objects compare.

    Raises:
        ValueError: a box that no image holds.
    """
    keypoints = heatmaps.new_zeros(*heatmaps.shape[:2], 3)
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    pixels = sides.ceil()
    if not bool((pixels.prod(dim=1) * heatmaps.shape[1] <= MOST_PIXELS).all()):
        raise ValueError(f"{heatmaps.shape[1]} heatmaps cannot be stretched to more than 2^28 pixels together")
    for found, maps, box, side, size in zip(keypoints, heatmaps, boxes, sides, pixels, strict=True):
        width, height = (int(length) for length in size)
        stretched = F.interpolate(maps[None], size=(height, width), mode="bicubic", align_corners=False)[0]
        peaks, places = stretched.flatten(1).max(dim=1)
        column = places % width
        row = torch.div(places - column, width, rounding_mode="trunc")
        found[:, 0] = (column + 0.5) * (side[0] / size[0]) + box[0]
        found[:, 1] = (row + 0.5) * (side[1] / size[1]) + box[1]
        found[:, 2] = 1 / (maps - peaks[:, None, None]).exp().sum(dim=(1, 2))
    return keypoints
