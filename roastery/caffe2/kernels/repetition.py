"""Tile and Expand: the same numbers several times."""

from typing import Any

import torch
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.arithmetic import canonical_axis, only_numbers
from roastery.caffe2.kernels.registry import Compute, kernel
from roastery.errors import ModelFileError, OperatorError


@kernel("Tile", inputs=(1, 1))
def build_tile(arguments: Arguments) -> Compute:
    """`tiles` times along `axis`.

    Source: caffe2/operators/tile_op.h, PyTorch 1.10.
    """
    tiles, axis = arguments.integer("tiles", -1), arguments.integer("axis", 0)
    if not 0 <= tiles < 2**31:
        raise ModelFileError(f"{arguments.owner}: its tiles, {tiles}, are no number of times")

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        if x.dtype != torch.uint8:
            only_numbers(x)
        along = canonical_axis(axis, x.ndim)
        return (x.repeat([tiles if place == along else 1 for place in range(x.ndim)]),)

    return compute


@kernel("Expand", inputs=(2, 2), fresh=False)
def build_expand(arguments: Arguments) -> Compute:
    """Broadcast with the shape that the second input (n,) int64 is; 1, or less, in it leaves an axis as it is.

    A tensor without numbers is refused, as in Caffe2.

    Source: caffe2/operators/expand_op.h, PyTorch 1.10.
    """

    def compute(x: Tensor, shape: Tensor) -> tuple[Tensor, ...]:
        if shape.ndim != 1 or shape.dtype != torch.int64:
            raise OperatorError(f"the shape {list(shape.shape)} of {shape.dtype} must be (n,) int64")
        if x.numel() == 0:
            raise OperatorError("Caffe2 expands no tensor without numbers")
        only_numbers(x)
        sizes = [max(1, size) for size in shape.tolist()]
        broadcast: Any = torch.broadcast_shapes(x.shape, sizes)  # type: ignore[no-untyped-call]
        return (torch.broadcast_to(x, broadcast),)

    return compute
