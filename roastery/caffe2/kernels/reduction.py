"""ReduceMean."""

from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.registry import Compute, kernel


@kernel("ReduceMean", inputs=(1, 1))
def build_reduce_mean(arguments: Arguments) -> Compute:
    """The mean over `axes`, of all where none is named; `keepdims` leaves them with a size of 1.

    Source: caffe2/operators/reduce_ops.cc, PyTorch 1.10.
    """
    axes = arguments.integers("axes", [])
    keep = arguments.flag("keepdims", True)

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        return (x.mean(dim=axes or list(range(x.dim())), keepdim=keep),)

    return compute
