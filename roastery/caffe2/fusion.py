"""Operators of a graph run as one: a kernel that can do what its only reader does, and the reader's reader, does it."""

from collections.abc import Sequence
from dataclasses import replace
from operator import getitem

from torch.fx import Graph, Node
from torch.fx.node import Argument

from roastery.caffe2.operation import Bound, Operation

OPERATION = "operation"
"""The key of a node's `meta` under which what it calls is."""

_COMMUTATIVE = frozenset({"Add"})


def bound_of(node: Node) -> Bound | None:
    """The operator that a node runs; None for inputs, parameters, outputs and what takes one of several outputs."""
    operation = node.meta.get(OPERATION)
    return operation.bound if isinstance(operation, Operation) else None


def maker_of(node: Node) -> Node:
    """The node that runs the operator whose output this is."""
    first = node.args[0] if node.target is getitem else node
    assert isinstance(first, Node)
    return first


def only_reader(node: Node) -> Node | None:
    """The node that reads this one, once, where there is just one."""
    if len(node.users) != 1:
        return None
    (reader,) = node.users
    return reader if reader.args.count(node) == 1 else None


def fuse(graph: Graph) -> None:
    """Put those together that one kernel can do together.

    What is between them is not made, so it may be read by nobody else. Nothing dead may be in the graph.
    """
    gone: set[Node] = set()
    for node in list(graph.nodes):
        bound = None if node in gone else bound_of(node)
        for ending in sorted(bound.endings, key=len, reverse=True) if bound else ():
            members = _follow(node, ending)
            if members is not None:
                gone.update(_put_together(graph, node, members, ending))
                break
    for node in list(graph.nodes):
        _gather(graph, node)


def _first_output(node: Node) -> Node | None:
    """The node of an operator's first output; None where others are read too."""
    bound = bound_of(node)
    if bound is None or bound.outputs == 1:
        return node
    reader = only_reader(node)
    return reader if reader is not None and reader.args[1] == 0 else None


def _follow(first: Node, ending: tuple[str, ...]) -> list[Node] | None:
    """The operators of that ending, each the only reader of the one before; None where they are others."""
    members: list[Node] = []
    for kind in ending:
        given = _first_output(members[-1] if members else first)
        reader = only_reader(given) if given else None
        bound = bound_of(reader) if reader else None
        if reader is None or bound is None or bound.type != kind or not bound.plain:
            return None
        if kind not in _COMMUTATIVE and reader.args[0] is not given:
            return None
        members.append(reader)
    return members


def _put_together(graph: Graph, first: Node, members: Sequence[Node], ending: tuple[str, ...]) -> list[Node]:
    """Make the last member do what all do: what any of them reads is there then. Returns the others, now gone."""
    start, last = bound_of(first), members[-1]
    assert start is not None
    given = _first_output(first)
    inputs: list[Argument] = []
    for member in members:
        inputs += [value for value in member.args if value is not given]
        given = member
    together = start.endings[ending]
    bound = replace(
        start,
        outputs=1,
        compute=together.compute,
        in_place=together.in_place,
        fresh=True,
        into=None,
        endings={},
        gather=together.gather,
        by_row=start.by_row and not inputs,
    )
    between = _first_output(first)
    others = [*reversed(members[:-1]), *([between] if between is not None and between is not first else []), first]
    last.args = (*inputs, *first.args)
    last.target = "_".join([str(first.target), *ending])
    last.meta[OPERATION] = Operation(bound)
    for node in others:
        graph.erase_node(node)
    return others


def _gather(graph: Graph, node: Node) -> None:
    """Make one that gathers what others make do their part too, where it can."""
    bound = bound_of(node)
    if bound is None or bound.gather is None:
        return
    parts = [part for part in node.args[1:] if isinstance(part, Node) and only_reader(part) is node]
    made = [made for part in parts if (made := bound_of(part)) is not None]
    intos = [(each.into, len(part.args)) for each, part in zip(made, parts, strict=False) if each.into is not None]
    if len(intos) != len(node.args) - 1:
        return
    node.args = (node.args[0], *(value for part in parts for value in part.args))
    node.target = f"{made[0].type}_into_{node.target}"
    node.meta[OPERATION] = Operation(replace(bound, compute=bound.gather(intos)))
    for part in parts:
        graph.erase_node(part)
