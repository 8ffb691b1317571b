"""BatchMatMul."""

import torch
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.arithmetic import only_floats
from roastery.caffe2.kernels.registry import Compute, kernel
from roastery.errors import OperatorError


@kernel("BatchMatMul", inputs=(2, 2))
def build_batch_matmul(arguments: Arguments) -> Compute:
    """Products of matrices, (..., M, K) and (..., K, N); the axes before are the same, or broadcast with `broadcast`.

    `trans_a` and `trans_b` say that the matrices lie transposed. A vector is a row before, a column after; of two
    vectors it gives (1,).

    Source: caffe2/operators/batch_matmul_op.h, PyTorch 1.10.
    """
    trans_a, trans_b, broadcast = (arguments.flag(name) for name in ("trans_a", "trans_b", "broadcast"))

    def compute(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        only_floats(a)
        only_floats(b)
        if b.ndim == 1 and trans_a:
            raise OperatorError("a transposed matrix with a vector, of which Caffe2 gives another shape")
        if min(a.ndim, b.ndim) == 1:
            y = torch.matmul(_turned(a, trans_a), _turned(b, trans_b))
            return (y.reshape(1) if y.ndim == 0 else y,)
        length = max(a.ndim, b.ndim)
        lead = [[1] * (length - each.ndim) + list(each.shape[:-2]) for each in (a, b)]
        if lead[0] != lead[1] and not broadcast:
            raise OperatorError(f"matrices in {a.shape[:-2]} and {b.shape[:-2]} without broadcast")
        return (torch.matmul(_turned(a, trans_a), _turned(b, trans_b)),)

    return compute


def _turned(x: Tensor, turn: bool) -> Tensor:
    return x.transpose(-1, -2) if turn and x.ndim > 1 else x
