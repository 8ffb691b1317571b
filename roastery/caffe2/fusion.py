"""Operators of a net run as one: a kernel that can do what its only reader does, and the reader's reader, does it."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from roastery.caffe2.kernels.registry import Compute, Into

_COMMUTATIVE = frozenset({"Add"})
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
        inputs, outputs: numbers of values. A blob that is written again is another value each time.
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
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    compute: Compute
    in_place: Compute | None
    fresh: bool
    plain: bool
    into: Into | None = None
    endings: Mapping[tuple[str, ...], Together] = field(default_factory=dict)
    gather: Gather | None = None
    by_row: bool = False


def fuse(operators: Sequence[Bound], keep: Set[int]) -> list[Bound]:
    """The operators, in an order that runs, with those together that one kernel can do together.

    What is between them is not made, so it may be read by nobody else and be none of the values to keep.
    """
    readers: dict[int, list[int]] = {}
    for index, bound in enumerate(operators):
        for value in bound.inputs:
            readers.setdefault(value, []).append(index)

    def only_reader(bound: Bound) -> int | None:
        first, *others = bound.outputs
        if any(value in keep or value in readers for value in others) or first in keep:
            return None
        return readers[first][0] if len(readers.get(first, ())) == 1 else None

    placed: list[Bound | None] = list(operators)
    for index in range(len(operators)):
        if placed[index] is not operators[index]:
            continue
        for ending in sorted(operators[index].endings, key=len, reverse=True):
            members = _follow(operators, index, ending, only_reader)
            if members is not None and all(placed[member] is operators[member] for member in members):
                for member in (index, *members):
                    placed[member] = None
                # Where the last was: all that it reads is there then.
                placed[members[-1]] = _together(operators, index, members, ending)
                break
    return _gathered([bound for bound in placed if bound is not None], keep)


def _gathered(operators: Sequence[Bound], keep: Set[int]) -> list[Bound]:
    """Those that gather what others make, with the others."""
    maker = {value: index for index, bound in enumerate(operators) for value in bound.outputs}
    reads: dict[int, int] = {}
    for bound in operators:
        for value in bound.inputs:
            reads[value] = reads.get(value, 0) + 1
    placed: list[Bound | None] = list(operators)
    for index, bound in enumerate(operators):
        parts = [operators[maker[value]] for value in bound.inputs[1:] if value in maker and reads[value] == 1]
        if bound.gather is None or len(parts) != len(bound.inputs) - 1 or keep & set(bound.inputs[1:]):
            continue
        intos = [(part.into, len(part.inputs)) for part in parts if part.into is not None]
        if len(intos) == len(parts):
            for value in bound.inputs[1:]:
                placed[maker[value]] = None
            inputs = [value for part in parts for value in part.inputs]
            placed[index] = replace(bound, inputs=(bound.inputs[0], *inputs), compute=bound.gather(intos))
    return [bound for bound in placed if bound is not None]


def _follow(
    operators: Sequence[Bound], first: int, ending: tuple[str, ...], only_reader: Callable[[Bound], int | None]
) -> list[int] | None:
    """The operators of that ending, each the only reader of the one before; None where they are others."""
    members: list[int] = []
    for kind in ending:
        before = operators[members[-1] if members else first]
        reader = only_reader(before)
        if reader is None or operators[reader].type != kind or not operators[reader].plain:
            return None
        if kind not in _COMMUTATIVE and operators[reader].inputs[0] != before.outputs[0]:
            return None
        members.append(reader)
    return members


def _together(operators: Sequence[Bound], first: int, members: Sequence[int], ending: tuple[str, ...]) -> Bound:
    start, last = operators[first], operators[members[-1]]
    given = start.outputs[0]
    inputs: list[int] = []
    for member in members:
        inputs += [value for value in operators[member].inputs if value != given]
        given = operators[member].outputs[0]
    together = start.endings[ending]
    return replace(
        start,
        inputs=(*inputs, *start.inputs),
        outputs=last.outputs,
        compute=together.compute,
        in_place=together.in_place,
        fresh=True,
        into=None,
        endings={},
        gather=together.gather,
        by_row=start.by_row and not inputs,
    )
