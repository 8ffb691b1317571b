"""An operator of a net bound to its kernel: what a node of the compiled graph calls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from roastery.caffe2.kernels.registry import Compute, Into
from roastery.errors import OperatorError, RuntimeFailed

Gather = Callable[[Sequence[tuple[Into, int]]], Compute]


@dataclass(frozen=True)
class Together:
    """The kernels of an operator and those after it: see `Ending`."""

    compute: Compute
    in_place: Compute | None
    gather: Gather | None


@dataclass(frozen=True)
class Bound:
    """An operator of the net with its kernel.

    Attributes:
        type: Caffe2's.
        label: how errors name it: "Conv giving '367'".
        module: the name of the module that it came from, as far as the net has it.
        outputs: how many it gives.
        compute: the kernel.
        in_place: the kernel that writes over its first input, where there is one.
        fresh: whether nothing else holds what `compute` returns.
        plain: it has no arguments, so that a kernel that ends with its type does what it does.
        into: the kernel that writes the rows of its output to where they are wanted, where there is one.
        by_row: each row of the first input gives a row of the only output; the other inputs are the same for all rows.
        gather: makes the kernel of all inputs but the first being written so, where it can be.
        endings: kernels that do this operator and then, with its first output for their first input, plain ones of
            these types, and such that write over their own first input; they take what the others read beside, and then
            the inputs of this one.
    """

    type: str
    label: str
    module: str
    outputs: int
    compute: Compute
    in_place: Compute | None
    fresh: bool
    plain: bool
    into: Into | None = None
    endings: Mapping[tuple[str, ...], Together] = field(default_factory=dict)
    gather: Gather | None = None
    by_row: bool = False


class Operation(torch.nn.Module):
    """Calls the kernel; what it cannot do is said with the operator's name and the shapes that it got.

    Its text, which torch.fx may print, holds nothing of the net's.
    """

    def __init__(self, bound: Bound) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The output, or all of them in a tuple where the net has more than one.

        Raises:
            OperatorError: the kernel refused the inputs.
            RuntimeFailed: PyTorch refused them.
        """
        try:
            outputs = self.bound.compute(*inputs)
        except OperatorError as error:
            raise OperatorError(f"{self.bound.label}: {error}; inputs {_shapes(inputs)}") from error
        except (RuntimeError, ValueError, IndexError, TypeError, OverflowError) as error:
            # PyTorch's message may go on with a C++ stack.
            reason = str(error).split("\n", maxsplit=1)[0]
            raise RuntimeFailed(f"{self.bound.label}: {reason}; inputs {_shapes(inputs)}") from error
        return outputs[0] if self.bound.outputs == 1 else outputs


def _shapes(inputs: Sequence[Tensor]) -> str:
    return ", ".join(f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}" for tensor in inputs) or "none"
