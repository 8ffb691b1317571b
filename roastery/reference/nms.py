"""Non-maximum suppression within groups.

Source: torchvision's nms and batched_nms, as detectron2 0.5 calls them: a box falls if its IoU with a better one of
its group is above the threshold; an IoU of NaN suppresses nothing.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, most: int) -> Tensor:
    """Suppress boxes within each group.

    Args:
        boxes: (n, 4) float32 xyxy.
        scores: (n,) float32.
        groups: (n,) int64: feature level or class; boxes of different groups never suppress each other.
        threshold: the IoU above which the lower-scored of two falls.
        most: how many may stay; below 0: all that are not suppressed.

    Returns:
        (k,) int64, the best boxes that stay, by falling score; equal scores keep their order.
    """
    order = torch.argsort(scores, descending=True, stable=True).numpy()
    ranked_groups = groups.numpy()[order]
    ranked_boxes = boxes.numpy()[order]
    kept = np.zeros(len(order), dtype=bool)
    most = most if most >= 0 else len(order)
    for group in np.unique(ranked_groups):
        members = np.nonzero(ranked_groups == group)[0]
        # Of one group no more than `most` can be among the best of all.
        kept[members[_survivors(ranked_boxes[members], threshold, most)]] = True
    return torch.from_numpy(order[kept][:most])


def _survivors(boxes: NDArray[np.float32], threshold: float, most: int) -> NDArray[np.int64]:
    """Indices of the first `most` boxes of (n, 4), best first, that no better survivor suppresses."""
    x0, y0, x1, y1 = np.ascontiguousarray(boxes.T)
    areas = (x1 - x0) * (y1 - y0)
    limit = np.float64(threshold)
    survivors: list[np.int64] = []
    left = np.arange(len(boxes))
    with np.errstate(invalid="ignore", divide="ignore"):
        while len(left) and len(survivors) < most:
            best, left = left[0], left[1:]
            survivors.append(best)
            width = np.maximum(np.minimum(x1[best], x1[left]) - np.maximum(x0[best], x0[left]), 0)
            height = np.maximum(np.minimum(y1[best], y1[left]) - np.maximum(y0[best], y0[left]), 0)
            shared = width * height
            left = left[~(shared / (areas[best] + areas[left] - shared) > limit)]
    return np.asarray(survivors, dtype=np.int64)
