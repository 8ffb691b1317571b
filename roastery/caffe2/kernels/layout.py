"""How maps lie in memory."""

import torch
from torch import Tensor

# Maps are few; rows of boxes are many, and small.
_MOST_IMAGES = 16


def in_order(x: Tensor) -> Tensor:
    """The same numbers in the order of the axes; x itself where they lie so already.

    Maps (N, C, H, W) whose channels lie last are turned as a matrix each, for which PyTorch has a quicker way: of 720
    channels of 80 x 80 cells in a third of the time.
    """
    if x.ndim != 4 or len(x) > _MOST_IMAGES or not x.is_contiguous(memory_format=torch.channels_last):
        return x.contiguous()
    if x.is_contiguous():
        return x
    y = x.new_empty(x.shape)
    for image, turned in zip(x, y, strict=True):
        turned.view(len(turned), -1).copy_(image.flatten(1))
    return y
