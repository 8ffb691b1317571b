"""Operators of a traced program rewritten where they stand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.export import ExportedProgram
from torch.fx import Node


def rewrite(program: ExportedProgram, rewritings: Mapping[Any, Callable[[Node], None]]) -> None:
    """Rewrite every node of these operators, in place, and drop what is not needed any more."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in rewritings:
            rewritings[node.target](node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()


def replace(node: Any, target: Any, args: Sequence[Any], kwargs: dict[str, Any] | None = None) -> Any:
    """Another operator in the place of a node, which gives the same."""
    with node.graph.inserting_before(node):
        new = node.graph.call_function(target, tuple(args), kwargs)
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    node.graph.erase_node(node)
    return new
