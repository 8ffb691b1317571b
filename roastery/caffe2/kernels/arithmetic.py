"""Element by element: Add, Sub, Mul, Div, Sum; and Softmax, FC."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.registry import ANY, Build, Compute, kernel
from roastery.errors import OperatorError, UnsupportedOperator


def _divide(a: Tensor, b: Tensor) -> Tensor:
    # As C++ does: whole numbers towards zero.
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def _divide_in_place(a: Tensor, b: Tensor) -> Tensor:
    return a.div_(b, rounding_mode=None if a.is_floating_point() else "trunc")


_NUMBERS = (torch.float32, torch.float64, torch.int32, torch.int64)

_BINARY: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "Add": (torch.add, Tensor.add_),
    "Sub": (torch.sub, Tensor.sub_),
    "Mul": (torch.mul, Tensor.mul_),
    "Div": (_divide, _divide_in_place),
}


def _binary(function: Callable[..., Tensor]) -> Build:
    def build(arguments: Arguments) -> Compute:
        """Numpy's broadcasting; with `broadcast` Caffe2's old one: b is fitted to a's axes from `axis` on.

        Source: caffe2/operators/elementwise_ops.h, PyTorch 1.10.
        """
        legacy, axis = arguments.flag("broadcast"), arguments.integer("axis", -1)
        if arguments.text("axis_str", ""):
            raise UnsupportedOperator(f"{arguments.owner}: axis_str is not supported; give axis a number")

        def compute(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
            _two_of_a_kind(a, b)
            return (function(a, fit(a, b, axis) if legacy else b),)

        return compute

    return build


def fit(a: Tensor, b: Tensor, axis: int) -> Tensor:
    """b with as many axes as there are in a, its own beginning at `axis` (-1: ending at the last).

    Raises:
        OperatorError: it does not fit there.
    """
    if b.numel() == 1:
        return b.reshape([1] * a.ndim)
    first = a.ndim - b.ndim if axis == -1 else axis
    if not 0 <= first <= a.ndim - b.ndim or a.shape[first : first + b.ndim] != b.shape:
        raise OperatorError(f"{tuple(b.shape)} does not fit into {tuple(a.shape)} from axis {axis} on")
    return b.reshape([1] * first + list(b.shape) + [1] * (a.ndim - first - b.ndim))


def same_type(a: Tensor, b: Tensor) -> None:
    """torch would promote; Caffe2 refuses.

    Raises:
        OperatorError: two types.
    """
    if a.dtype != b.dtype:
        raise OperatorError(f"inputs of two types, {a.dtype} and {b.dtype}")


def _two_of_a_kind(a: Tensor, b: Tensor) -> None:
    same_type(a, b)
    only_numbers(a)


def only_numbers(x: Tensor) -> None:
    """Caffe2 calculates with and transposes float32, float64, int32 and int64.

    Raises:
        OperatorError: another type.
    """
    if x.dtype not in _NUMBERS:
        raise OperatorError(f"numbers of {x.dtype}, must be float32, float64, int32 or int64")


def only_floats(x: Tensor) -> None:
    """Caffe2 has most operators for float32 alone.

    Raises:
        OperatorError: another type.
    """
    if x.dtype != torch.float32:
        raise OperatorError(f"numbers of {x.dtype}, must be float32")


def _binary_in_place(function: Callable[..., Tensor], in_place: Callable[..., Tensor]) -> Build:
    def build(arguments: Arguments) -> Compute:
        if arguments.flag("broadcast"):
            return _binary(function)(arguments)

        def compute(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
            _two_of_a_kind(a, b)
            return (in_place(a, b) if a.shape == b.shape else function(a, b),)

        return compute

    return build


for _type, (_function, _in_place) in _BINARY.items():
    kernel(_type, inputs=(2, 2), in_place=_binary_in_place(_function, _in_place))(_binary(_function))


@kernel("Sum", inputs=(1, ANY))
def build_sum(arguments: Arguments) -> Compute:
    def compute(first: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        if any(other.shape != first.shape for other in others):
            raise OperatorError("the inputs of a Sum must have one shape")
        total = first.clone()
        for other in others:
            same_type(first, other)
            total += other
        return (total,)

    return compute


@kernel("Softmax", inputs=(1, 1))
def build_softmax(arguments: Arguments) -> Compute:
    """Over everything from `axis` on, together.

    Source: caffe2/operators/softmax_op.cc, PyTorch 1.10.
    """
    axis = arguments.integer("axis", 1)

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        only_floats(x)
        first = canonical_axis(axis, x.ndim)
        if x.numel() == 0:
            return (torch.empty_like(x),)
        return (torch.softmax(x.flatten(first), dim=-1).reshape(x.shape),)

    return compute


@kernel("FC", inputs=(3, 3))
def build_fully_connected(arguments: Arguments) -> Compute:
    """x w' + b, with x's axes from `axis` on taken as one, and w's from `axis_w` on.

    Source: caffe2/operators/fully_connected_op.h, PyTorch 1.10.
    """
    axis, axis_w = arguments.integer("axis", 1), arguments.integer("axis_w", 1)

    def compute(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        lead = x.shape[: canonical_axis(axis, x.ndim)]
        if weight.ndim != 2:
            split = canonical_axis(axis_w, weight.ndim)
            weight = weight.reshape(weight.shape[:split].numel(), weight.shape[split:].numel())
        rows = x.reshape(lead.numel(), weight.shape[1])
        return (F.linear(rows, weight, bias).reshape(*lead, weight.shape[0]),)

    return compute


def canonical_axis(axis: int, rank: int) -> int:
    """The axis counted from the front.

    Raises:
        OperatorError: there is no such axis.
    """
    if not -rank <= axis < rank:
        raise OperatorError(f"axis {axis} of a tensor with {rank} axes")
    return axis % rank
