"""Operators by row, one behind the other, run some rows at a time, so that what is between them stays in the cache."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from roastery.caffe2.fusion import OPERATION, bound_of

# Rows that a chain takes at once: of a mask head at full size about 20 detections.
_SLICE_BYTES = 4 * 2**20


class Chain(torch.nn.Module):
    """Runs a graph whose output has a row for each row of its first input, some rows at a time.

    Args:
        rows: from some rows, and the other inputs whole, to their rows of the output.
        wanted: whether the caller gets the output: in the order of its axes then.
    """

    def __init__(self, rows: GraphModule, wanted: bool) -> None:
        super().__init__()
        self.rows = rows
        self.wanted = wanted

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        parts = _slices(x)
        whole: Tensor | None = None
        start = 0
        for part in parts:
            y: Tensor = self.rows(part, *others)
            if len(parts) == 1:
                return y
            if whole is None:
                whole = y.new_empty((len(x), *y.shape[1:])) if self.wanted else _empty_like(y, len(x))
            whole[start : start + len(y)] = y
            start += len(y)
        assert whole is not None
        return whole


def link(graph: Graph) -> None:
    """Make chains of steps by row that come at once, each the only reader of the one before."""
    run: list[Node] = []
    for node in [node for node in graph.nodes if OPERATION in node.meta]:
        bound = bound_of(node)
        by_row = bound is not None and bound.by_row and node.args.count(node.args[0]) == 1
        if run and not (by_row and _goes_on(run, node)):
            _link(graph, run)
            run = []
        if by_row:
            run.append(node)
    _link(graph, run)


def _goes_on(run: Sequence[Node], node: Node) -> bool:
    # What is taken by rows at the chain's beginning must not be read whole further on.
    first, last = run[0], run[-1]
    return node.args[0] is last and node in last.users and len(last.users) == 1 and first.args[0] not in node.args


def _link(graph: Graph, run: Sequence[Node]) -> None:
    """Make the last of them run them all."""
    if len(run) < 2:
        return
    first, last = run[0], run[-1]
    inputs: dict[Node, None] = dict.fromkeys(arg for node in run for arg in node.all_input_nodes if arg not in run)
    rows = Graph()
    inside: dict[Node, Node] = {}
    for outer in inputs:
        inside[outer] = rows.placeholder(outer.name)
    for node in run:
        inside[node] = rows.node_copy(node, inside.__getitem__)
    rows.output(inside[last])
    wanted = any(reader.op == "output" for reader in last.users)
    chain = Chain(GraphModule(modules_of(rows), rows, "Rows"), wanted)
    last.args = (*inputs,)
    last.target = f"{first.target}_to_{last.target}"
    last.meta[OPERATION] = chain
    for node in reversed(run[:-1]):
        graph.erase_node(node)


def modules_of(graph: Graph) -> dict[str, torch.nn.Module]:
    """What the nodes call, by target."""
    return {str(node.target): node.meta[OPERATION] for node in graph.nodes if OPERATION in node.meta}


def _slices(x: Tensor) -> Sequence[Tensor]:
    if x.ndim == 0 or x.nbytes <= _SLICE_BYTES:
        return (x,)
    return torch.split(x, max(1, _SLICE_BYTES * len(x) // x.nbytes))


def _empty_like(part: Tensor, rows: int) -> Tensor:
    """With so many rows, in the layout of the part."""
    last = part.ndim == 4 and part.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty((rows, *part.shape[1:]), dtype=part.dtype, memory_format=layout)
