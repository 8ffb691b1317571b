"""The torch runtime's kernels of Caffe2's standard operators, a file a family. Importing this room registers them all.

The detection operators have theirs in `roastery.ops`. Maps are (N, C, H, W) throughout.
"""

from roastery.caffe2.kernels import (
    activation,
    arithmetic,
    convolution,
    fills,
    functions,
    matmul,
    normalization,
    pooling,
    reduction,
    repetition,
    resize,
    shapes,
)
from roastery.caffe2.kernels.registry import Kernel, kernels

__all__ = [
    "Kernel",
    "activation",
    "arithmetic",
    "convolution",
    "fills",
    "functions",
    "kernels",
    "matmul",
    "normalization",
    "pooling",
    "reduction",
    "repetition",
    "resize",
    "shapes",
]
