"""An image as detectron2 gives it to a backbone: normalised first, then padded with 0.

Source: detectron2 0.5, meta_arch/rcnn.py (preprocess_image) and structures/image_list.py.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode


def size_of(image: Tensor) -> tuple[int, int]:
    """Height and width of (3, h, w)."""
    return int(image.shape[1]), int(image.shape[2])


def normalised(config: CfgNode, image: Tensor, size_divisibility: int) -> Tensor:
    """(3, h, w) BGR 0..255 to (1, 3, H, W), multiples of the divisibility."""
    mean = torch.tensor(config.MODEL.PIXEL_MEAN, dtype=torch.float32).reshape(-1, 1, 1)
    deviation = torch.tensor(config.MODEL.PIXEL_STD, dtype=torch.float32).reshape(-1, 1, 1)
    pixels = (image.to(torch.float32) - mean) / deviation
    multiple = max(1, size_divisibility)
    height, width = image.shape[1:]
    below = math.ceil(height / multiple) * multiple - height
    right = math.ceil(width / multiple) * multiple - width
    return F.pad(pixels, (0, right, 0, below))[None]
