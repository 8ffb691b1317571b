"""Functions of each number alone: Exp, Log, Sqrt, Abs, Negative, Reciprocal, Erf, Clip, Pow."""

from collections.abc import Callable

import torch
from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.arithmetic import fit, only_floats, only_numbers, same_type
from roastery.caffe2.kernels.registry import Build, Compute, kernel
from roastery.errors import OperatorError, UnsupportedOperator


def of_floats(function: Callable[[Tensor], Tensor]) -> Compute:
    """Of one input, which must be of float32, as Caffe2 has most functions; torch would take others."""
    return checked(only_floats, function)


def plain(function: Callable[[Tensor], Tensor]) -> Build:
    """Builds a function of float32 that has no arguments."""
    return lambda arguments: of_floats(function)


def checked(check: Callable[[Tensor], None], function: Callable[[Tensor], Tensor]) -> Compute:
    """Of one input, which must pass the check."""

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        check(x)
        return (function(x),)

    return compute


_FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "Abs": (torch.abs, torch.abs_),
    "Erf": (torch.erf, torch.erf_),
    "Exp": (torch.exp, torch.exp_),
    "Log": (torch.log, torch.log_),
    "Reciprocal": (torch.reciprocal, torch.reciprocal_),
}

for _type, (_function, _in_place) in _FUNCTIONS.items():
    kernel(_type, inputs=(1, 1), in_place=plain(_in_place), by_row=True)(plain(_function))


def only_wide(x: Tensor) -> None:
    """Some functions Caffe2 has for float64 too.

    Raises:
        OperatorError: another type.
    """
    if x.dtype not in (torch.float32, torch.float64):
        raise OperatorError(f"numbers of {x.dtype}, must be float32 or float64")


@kernel("Sqrt", inputs=(1, 1), in_place=lambda arguments: checked(only_wide, torch.sqrt_), by_row=True)
def build_square_root(arguments: Arguments) -> Compute:
    return checked(only_wide, torch.sqrt)


@kernel("Negative", inputs=(1, 1), in_place=lambda arguments: checked(only_numbers, torch.neg_), by_row=True)
def build_negative(arguments: Arguments) -> Compute:
    return checked(only_numbers, torch.neg)


@kernel("Clip", inputs=(1, 1), by_row=True)
def build_clip(arguments: Arguments) -> Compute:
    """Between `min` and `max`, which are float32's own ends where they are not given.

    Source: caffe2/operators/clip_op.h, PyTorch 1.10.
    """
    limits = torch.finfo(torch.float32)
    low, high = arguments.number("min", limits.min), arguments.number("max", limits.max)
    return of_floats(lambda x: x.clamp(low, high))


@kernel("Pow", inputs=(1, 2))
def build_power(arguments: Arguments) -> Compute:
    """To the power of the second input, or of `exponent` where there is none.

    The second has the first's shape; with `broadcast` it is fitted to its axes from `axis` on.

    Source: caffe2/operators/pow_op.h, PyTorch 1.10.
    """
    exponent, axis = arguments.find("exponent", "f"), arguments.integer("axis", -1)
    legacy = arguments.flag("broadcast")
    if arguments.text("axis_str", ""):
        raise UnsupportedOperator(f"{arguments.owner}: axis_str is not supported; give axis a number")

    def compute(base: Tensor, power: Tensor | None = None) -> tuple[Tensor, ...]:
        only_floats(base)
        if power is None:
            if exponent is None:
                raise OperatorError("neither an exponent nor a second input")
            return (torch.pow(base, exponent.f),)
        same_type(base, power)
        if not legacy and (base.shape != power.shape or axis != -1):
            raise OperatorError("two shapes, or an axis, without broadcast")
        return (torch.pow(base, fit(base, power, axis) if legacy else power),)

    return compute
