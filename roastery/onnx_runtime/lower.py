"""ONNX with Caffe2's detection operators to standard ONNX: every operator's own lowering in its place."""

from collections import Counter
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

import roastery.ops  # noqa: F401  (defines the operators)
from roastery.errors import UnsupportedOperator
from roastery.metadata import MODULE_KEY, OPERATOR_KEY, PLACE_KEY
from roastery.ops.definition import ONNX_DOMAIN, Operator, operators
from roastery.ops.lowering import Constants, Lowering
from roastery.places import known_place, named


def standard_onnx(model: ir.Model) -> ir.Model:
    """The same model with nodes of ONNX's own domain alone.

    Args:
        model: as `export.onnx` gives it; it stays as it is. Both hold the same weights.

    Returns:
        A model whose nodes are named after the module and the operator that they came from. Inputs, outputs and
        metadata are the model's.

    Raises:
        UnsupportedOperator: an operator, or arguments of one, without a form in standard ONNX, with the module that it
            came from and, where it is the user's own, the line of its source.
    """
    standard = model.clone()
    graph = standard.graph
    constants = Constants(graph)
    met: Counter[str] = Counter()
    for node in list(graph):
        module = node.metadata_props.get(MODULE_KEY, "")
        kind = "/".join(part for part in (module, node.op_type) if part)
        node.name = f"{kind}_{met[kind]}"
        met[kind] += 1
        if node.domain != "":
            try:
                _replace(graph, node, Lowering(node.name, constants))
            except UnsupportedOperator as error:
                place = known_place(node.metadata_props.get(PLACE_KEY))
                raise UnsupportedOperator(f"{named(module, place)}: {error}") from error
    RemoveUnusedNodesPass()(standard)
    standard.opset_imports.pop(ONNX_DOMAIN, None)
    return standard


def _replace(graph: ir.Graph, node: ir.Node, lowering: Lowering) -> None:
    operator = operators().get(node.op_type) if node.domain == ONNX_DOMAIN else None
    if operator is None or operator.lower is None:
        raise UnsupportedOperator(
            f"operator {node.op_type!r} of domain {node.domain!r} has no form in standard ONNX; convert for another "
            "runtime"
        )
    lowered = operator.lower(lowering, *node.inputs, **_arguments(node, operator))
    outputs = lowered if isinstance(lowered, tuple) else (lowered,)
    graph.insert_before(node, lowering.nodes)
    for created in lowering.nodes:
        created.metadata_props.update({**node.metadata_props, OPERATOR_KEY: lowering.name})
    # A node may name fewer outputs than the operator has.
    for old, new in zip(node.outputs, outputs, strict=False):
        new.type, new.shape = old.type, old.shape
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        new.name, old.name = old.name, None
    graph.remove(node, safe=True)


def _arguments(node: ir.Node, operator: Operator) -> dict[str, Any]:
    """Every argument by name, as the operator's kernel takes it."""
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    arguments = {}
    for argument in operator.arguments.values():
        value = given.get(argument.name, argument.default)
        arguments[argument.name] = list(value) if isinstance(value, list | tuple) else argument.type(value)
    return arguments
