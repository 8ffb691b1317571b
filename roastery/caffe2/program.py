"""A NetDef compiled: operators bound to kernels once, and for each set of wanted blobs a torch.fx graph of them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import getitem

from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.arguments import Arguments
from roastery.caffe2.chain import link, modules_of
from roastery.caffe2.fusion import OPERATION, bound_of, fuse, maker_of
from roastery.caffe2.kernels.detection import detection_kernels
from roastery.caffe2.kernels.registry import Ending, Kernel, kernels
from roastery.caffe2.nets import INIT_FILE
from roastery.caffe2.operation import Bound, Operation, Together
from roastery.errors import ModelFileError, UnsupportedOperator

BLOB, MODULE = "blob", "module"
"""Keys of a node's `meta`: the blob that it gives and the module that it came from, as far as letters say them."""

_NO_LETTERS = re.compile(r"[^0-9A-Za-z_]+")
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Line:
    """An operator of the net: what it runs, the numbers of the values that it reads, and the blobs that it writes."""

    bound: Bound
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    blobs: tuple[str, ...]


@dataclass(frozen=True)
class Compiled:
    """What makes the wanted values: called with what the caller gives, in order, it returns them in a tuple.

    `own` says of each whether it shares its memory with nothing else.
    """

    module: GraphModule
    own: tuple[bool, ...]


@dataclass(frozen=True)
class Program:
    """The operators of a net.

    Attributes:
        lines: in the net's order.
        entries: the value that each blob from outside is, by name.
        finals: the value that each blob has at the end, by name.
    """

    lines: tuple[Line, ...]
    entries: Mapping[str, int]
    finals: Mapping[str, int]

    def compile(self, wanted: Sequence[str], given: Iterable[str], parameters: Mapping[str, Tensor]) -> Compiled:
        """A graph module of what the wanted blobs need, a node for each operator or several done together.

        Nothing that stands in the net becomes code: torch.fx makes it of the nodes' names, which are letters, digits
        and underscores behind a word of ours.

        Args:
            given: the entries that the caller gives, in the order in which the module takes them.
            parameters: what the others are.

        Raises:
            ModelFileError: a wanted blob that is not there; one that is needed and neither given nor a parameter.
        """
        graph = Graph()
        nodes: dict[int, Node] = {}
        for name in given:
            nodes[self.entries[name]] = _placeholder(graph, name)
        root: dict[str, object] = {}
        entry_names = {value: name for name, value in self.entries.items()}
        missing: dict[Node, str] = {}

        def node_of(value: int) -> Node:
            if value not in nodes:
                name = entry_names[value]
                if name in parameters:
                    target = f"parameter_{value}"
                    root[target] = parameters[name]
                    nodes[value] = graph.create_node("get_attr", target, name=_name(name))
                else:
                    nodes[value] = _placeholder(graph, name)
                    missing[nodes[value]] = name
            return nodes[value]

        for index, line in enumerate(self.lines):
            nodes.update(_add(graph, index, line, tuple(node_of(value) for value in line.inputs)))
        graph.output(tuple(node_of(self.finals[name]) for name in wanted))
        graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
        _refuse_missing(missing, wanted)
        fuse(graph)
        _write_over(graph)
        (results,) = graph.output_node().args
        own = tuple(_is_fresh(node) for node in results)  # type: ignore[union-attr, arg-type]
        link(graph)
        module = GraphModule({**root, **modules_of(graph)}, graph, "Net")
        return Compiled(module, own)


def _name(text: str) -> str:
    """A name that is code of no harm: torch.fx tells equal ones apart by a number."""
    return f"blob_{_NO_LETTERS.sub('_', text)[:_LONGEST_NAME]}"


def _placeholder(graph: Graph, blob: str) -> Node:
    node = graph.placeholder(_name(blob))
    # Of two blobs with one name of letters each has its own.
    node.target = node.name
    node.meta[BLOB] = _name(blob)
    return node


def _add(graph: Graph, index: int, line: Line, inputs: tuple[Node, ...]) -> dict[int, Node]:
    """Add the operator's node, and one for each of its outputs where there are several; by value."""
    target = f"{line.bound.type}_{index}"
    single = len(line.outputs) == 1
    name = _name(line.blobs[0]) if single else f"{target}_outputs"
    node = graph.create_node("call_module", target, inputs, name=name)
    node.meta = {OPERATION: Operation(line.bound), BLOB: name, MODULE: _NO_LETTERS.sub(".", line.bound.module)}
    if single:
        return {line.outputs[0]: node}
    found = {}
    for number, (value, blob) in enumerate(zip(line.outputs, line.blobs, strict=True)):
        found[value] = graph.create_node("call_function", getitem, (node, number), name=_name(blob))
        found[value].meta[BLOB] = _name(blob)
    return found


def _refuse_missing(missing: Mapping[Node, str], wanted: Sequence[str]) -> None:
    for node, name in missing.items():
        if node.users:
            reader = next(iter(node.users))
            bound = bound_of(reader)
            names = [missing[each] for each in reader.all_input_nodes if each in missing]
            label = bound.label if bound else f"the wanted blob {name!r}"
            blobs = ", ".join(repr(each) for each in (names if bound else [name]))
            raise ModelFileError(f"{label} needs blob {blobs}, which neither {INIT_FILE} fills nor the caller gave")
        node.graph.erase_node(node)


def _write_over(graph: Graph) -> None:
    """Let the last reader of what nothing else holds write over it, where it can."""
    places = {node: place for place, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        bound = bound_of(node)
        if bound is None or bound.in_place is None:
            continue
        first = node.args[0]
        last = all(places[reader] <= places[node] for reader in first.users)
        # An operator that is not fresh may give back its inputs, or views of them.
        viewed = any((reads := bound_of(reader)) is None or not reads.fresh for reader in first.users)
        if last and not viewed and _is_fresh(first) and node.args.count(first) == 1:
            node.meta[OPERATION] = Operation(replace(bound, compute=bound.in_place))


def _is_fresh(node: Node) -> bool:
    """Whether nothing else holds it when it is made."""
    bound = bound_of(maker_of(node))
    return bound is not None and bound.fresh


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
    lines = []
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
        bound = Bound(
            operator.type,
            label,
            operator.name,
            len(outputs),
            kernel.build(arguments),
            kernel.in_place(arguments) if kernel.in_place else None,
            kernel.fresh,
            plain=not operator.arg,
            into=kernel.into(arguments) if kernel.into else None,
            by_row=kernel.by_row,
            endings={types: _together(ending, arguments) for types, ending in kernel.endings.items()},
        )
        lines.append(Line(bound, inputs, outputs, tuple(operator.output)))
    for blob in net.external_output:
        if blob not in current:
            raise ModelFileError(f"{file}: nothing writes the net's output {blob!r}")
    return Program(tuple(lines), entries, current)


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
