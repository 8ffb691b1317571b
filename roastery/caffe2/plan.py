"""A NetDef compiled: operators bound to kernels once, and for each set of wanted blobs the steps that give them."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.arguments import Arguments
from roastery.caffe2.fusion import Bound, Together, fuse
from roastery.caffe2.kernels.detection import detection_kernels
from roastery.caffe2.kernels.registry import Compute, Ending, Kernel, kernels
from roastery.errors import ModelFileError, UnsupportedOperator


@dataclass(frozen=True)
class Step:
    """One call: `compute` reads the inputs, the outputs are kept, then those in `frees` are let go.

    `by_row` as of the kernel.
    """

    label: str
    compute: Compute
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    frees: tuple[int, ...]
    by_row: bool


@dataclass(frozen=True)
class Chain:
    """Steps by row, each of which alone reads what the one before gives, so that they may be taken some rows at a time.

    `frees` are let go at the end; the steps let go what is between them. `wanted` says that the caller gets the last
    output.
    """

    steps: tuple[Step, ...]
    frees: tuple[int, ...]
    wanted: bool


@dataclass(frozen=True)
class Plan:
    """How wanted values come to be. `own` are those of them that share their memory with nothing else."""

    steps: tuple[Step | Chain, ...]
    own: frozenset[int]


@dataclass(frozen=True)
class Program:
    """A compiled net.

    Attributes:
        operators: in the net's order.
        entries: the value that each blob from outside is, by name.
        finals: the value that each blob has at the end, by name.
        size: how many values there are.
    """

    operators: tuple[Bound, ...]
    entries: dict[str, int]
    finals: dict[str, int]
    size: int

    def plan(self, wanted: Sequence[int]) -> Plan:
        """How the wanted values come to be, each other one let go after its last use."""
        keep = set(wanted)
        needed = set(wanted)
        chosen: list[Bound] = []
        for bound in reversed(self.operators):
            if needed.intersection(bound.outputs):
                chosen.append(bound)
                needed.update(bound.inputs)
        chosen = fuse(chosen[::-1], keep)
        last_use = {value: index for index, bound in enumerate(chosen) for value in (*bound.outputs, *bound.inputs)}
        fresh = {value for bound in chosen if bound.fresh for value in bound.outputs}
        # An operator that is not fresh may give back its inputs, or views of them.
        views = {value for bound in chosen if not bound.fresh for value in bound.inputs}
        steps = []
        for index, bound in enumerate(chosen):
            touched = {*bound.inputs, *bound.outputs}
            frees = tuple(sorted(v for v in touched if last_use[v] == index and v not in keep))
            compute = bound.compute
            # Its last reader may write over what nothing else holds.
            first = bound.inputs[0] if bound.inputs else -1
            alone = last_use.get(first) == index and first in fresh - views - keep and bound.inputs.count(first) == 1
            if bound.in_place and alone:
                compute = bound.in_place
            steps.append(Step(bound.label, compute, bound.inputs, bound.outputs, frees, bound.by_row))
        return Plan(_chained(steps, keep), frozenset(keep & fresh))


def _chained(steps: Sequence[Step], keep: Set[int]) -> tuple[Step | Chain, ...]:
    """The steps, with those that make a chain as one."""
    done: list[Step | Chain] = []
    run: list[Step] = []
    for step in steps:
        # What the one before gave is let go here: so this is its only reader that is left, and it comes at once.
        goes_on = run and step.by_row and step.inputs[0] == run[-1].outputs[0] and step.inputs[0] in step.frees
        if not goes_on:
            done += _chain(run, keep)
            run = []
        if step.by_row:
            run.append(step)
        else:
            done.append(step)
    return (*done, *_chain(run, keep))


def _chain(run: Sequence[Step], keep: Set[int]) -> Sequence[Step | Chain]:
    if len(run) < 2:
        return run
    between = {step.outputs[0] for step in run[:-1]}
    frees = [value for step in run for value in step.frees if value not in between]
    inner = [replace(step, frees=tuple(value for value in step.frees if value in between)) for step in run]
    return [Chain(tuple(inner), tuple(frees), run[-1].outputs[0] in keep)]


def compile_net(net: caffe2_pb2.NetDef, file: str) -> Program:
    """Bind every operator.

    Args:
        file: the file that the net comes from, for errors.

    Raises:
        UnsupportedOperator: operators without a kernel, all of them named; or an argument that a kernel does not have.
        ModelFileError: an operator with too many or too few inputs or outputs, with an argument of the wrong type, or
            that reads a blob which nothing has written before it.
    """
    table = {**kernels(), **detection_kernels()}
    _refuse_unknown(net, table, file)
    current = {name: value for value, name in enumerate(net.external_input)}
    entries = dict(current)
    size = len(net.external_input)
    operators = []
    for index, operator in enumerate(net.op):
        label = operator_label(operator)
        kernel = table[operator.type]
        _check_count(f"{file}: {label}", "inputs", len(operator.input), kernel.inputs)
        _check_count(f"{file}: {label}", "outputs", len(operator.output), kernel.outputs)
        for blob in operator.input:
            if blob not in current:
                raise ModelFileError(f"{file}: {label} reads blob {blob!r}, {_where(blob, net, index)}")
        inputs = tuple(current[blob] for blob in operator.input)
        outputs = tuple(range(size, size + len(operator.output)))
        size += len(outputs)
        current.update(zip(operator.output, outputs, strict=True))
        arguments = Arguments(f"{file}: {label}", operator.arg, operator.type, len(outputs))
        _refuse_order(arguments, operator.type)
        operators.append(
            Bound(
                operator.type,
                label,
                inputs,
                outputs,
                kernel.build(arguments),
                kernel.in_place(arguments) if kernel.in_place else None,
                kernel.fresh,
                plain=not operator.arg,
                into=kernel.into(arguments) if kernel.into else None,
                by_row=kernel.by_row,
                endings={types: _together(ending, arguments) for types, ending in kernel.endings.items()},
            )
        )
    for blob in net.external_output:
        if blob not in current:
            raise ModelFileError(f"{file}: nothing writes the net's output {blob!r}")
    return Program(tuple(operators), entries, current, size)


def _together(ending: Ending, arguments: Arguments) -> Together:
    in_place = ending.in_place(arguments) if ending.in_place else None
    return Together(ending.build(arguments), in_place, ending.gather(arguments))


def operator_label(operator: caffe2_pb2.OperatorDef) -> str:
    """Type, first output and module name: "Conv giving '367' (backbone.stem.conv1)"."""
    output = operator.output[0] if operator.output else ""
    return f"{operator.type} giving {output!r}" + (f" ({operator.name})" if operator.name else "")


def _refuse_unknown(net: caffe2_pb2.NetDef, table: dict[str, Kernel], file: str) -> None:
    unknown = sorted({operator.type for operator in net.op} - table.keys())
    if unknown:
        names = ", ".join(repr(name) for name in unknown[:20]) + (", ..." if len(unknown) > 20 else "")
        raise UnsupportedOperator(
            f"{file}: the torch runtime does not have {names}; run the model with runtime caffe2 if genuine Caffe2 does"
        )


def _check_count(place: str, what: str, count: int, limits: tuple[int, int]) -> None:
    fewest, most = limits
    if not fewest <= count <= most:
        expected = str(fewest) if fewest == most else f"{fewest} to {most}" if most < 1 << 20 else f"at least {fewest}"
        raise ModelFileError(f"{place} has {count} {what} where it takes {expected}")


def _where(blob: str, net: caffe2_pb2.NetDef, index: int) -> str:
    for later in net.op[index:]:
        if blob in later.output:
            return f"which only {operator_label(later)} writes, later; operators must come in the order they run"
    return "which is neither an external input nor written by any operator"


def _refuse_order(arguments: Arguments, operator_type: str) -> None:
    # RoIAlign reads its own order.
    if operator_type != "RoIAlign" and arguments.holds("order", "s") and arguments.text("order", "NCHW") != "NCHW":
        raise UnsupportedOperator(f"{arguments.owner}: order {arguments.text('order', '')!r} is not supported, NCHW is")
