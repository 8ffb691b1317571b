"""The table of the torch runtime's kernels: for each Caffe2 operator, what makes a function of its arguments.

A kernel is built once for each operator of a net: its arguments are read and checked then, not at every run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from roastery.caffe2.arguments import Arguments

# From input tensors in order to output tensors in order.
Compute = Callable[..., tuple[Tensor, ...]]
Build = Callable[[Arguments], Compute]
# From a tensor (None: it is made), where each of its rows goes, how many are there already, and input tensors in order:
# to that tensor with the output's rows in the next places, and how many are there now.
Into = Callable[..., tuple[Tensor, int]]


@dataclass(frozen=True)
class Ending:
    """How an operator runs with those that come next.

    Attributes:
        build: makes the function.
        in_place: makes the one that may write over its first input and returns it.
        gather: makes what makes the function where all inputs but the first are of kernels with `into`, which then
            write where they are wanted: from each one's `Into` and its number of inputs. None where it cannot.
    """

    build: Build
    in_place: Build | None = None
    gather: Callable[[Arguments], Callable[[Sequence[tuple[Into, int]]], Compute] | None] = lambda _: None


@dataclass(frozen=True)
class Kernel:
    """How an operator runs.

    Attributes:
        build: makes the function from the arguments.
        inputs: how few and how many inputs it takes.
        outputs: how few and how many outputs it gives. An operator may name fewer than the function returns.
        fresh: the outputs are new memory that nothing else holds, so that the next operator may write into them.
        in_place: the function that may write over its first input and returns it, where there is one.
        into: makes the function that writes the rows of the only output to where they are wanted.
        by_row: each row of the first input gives a row of the only output, by itself; the other inputs are the same for
            all rows.
        endings: what does more than the operator: what operators of these types, without arguments, do next with its
            first output alone. Their functions take what those read beside, in their order, and then its inputs.
    """

    build: Build
    inputs: tuple[int, int]
    outputs: tuple[int, int]
    fresh: bool
    in_place: Build | None = None
    into: Callable[[Arguments], Into] | None = None
    by_row: bool = False
    endings: Mapping[tuple[str, ...], Ending] = field(default_factory=dict)


_KERNELS: dict[str, Kernel] = {}
ANY = 1 << 30


def kernels() -> Mapping[str, Kernel]:
    """Every standard operator that has a kernel. Import `roastery.caffe2.kernels` to have them all."""
    return _KERNELS


def kernel(
    *types: str,
    inputs: tuple[int, int],
    outputs: tuple[int, int] = (1, 1),
    fresh: bool = True,
    in_place: Build | None = None,
    by_row: bool = False,
    endings: Mapping[tuple[str, ...], Ending] | None = None,
) -> Callable[[Build], Build]:
    """Register what builds the kernel of these operator types."""

    def register(build: Build) -> Build:
        for name in types:
            if name in _KERNELS:
                raise ValueError(f"{name} has two kernels")
            _KERNELS[name] = Kernel(build, inputs, outputs, fresh, in_place, by_row=by_row, endings=endings or {})
        return build

    return register
