"""Which nodes of a model compute in 8 bits, and which stay float32.

Layers (Conv, Gemm and MatMul with constant weights) are rounded, and what only carries maps from one to the next, Relu
and MaxPool. Float stay, whoever asks:

- what a detection operator became, and whatever else is no layer;
- the first layers, which see the image: rounding weights whose sum over an even patch should be 0 is an error in every
  map behind, and a stem of three channels gains little;
- the last layers, whose values are scores, box deltas and masks and go to no other layer: rounding a delta to one of
  256 steps moves a box, and they cost little;
- layers without which no image of the sample got any values: nobody knows how large theirs are.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

import onnx

from roastery.errors import ConfigError
from roastery.metadata import MODULE_KEY

LAYERS = ("Conv", "Gemm", "MatMul")
CARRIERS = ("Relu", "MaxPool")
_CLOSE = 3


@dataclass(frozen=True)
class Nodes:
    """A graph's nodes by what they make, and by what they take."""

    all: Sequence[onnx.NodeProto]
    constants: Collection[str]
    producers: Mapping[str, onnx.NodeProto]
    readers: Mapping[str, Sequence[onnx.NodeProto]]
    outputs: Collection[str]

    @classmethod
    def of(cls, graph: onnx.GraphProto) -> "Nodes":
        readers = defaultdict(list)
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                readers[name].append(node)
        return cls(
            graph.node,
            frozenset(tensor.name for tensor in graph.initializer),
            {name: node for node in graph.node for name in node.output if name},
            readers,
            frozenset(output.name for output in graph.output),
        )


def module_of(node: onnx.NodeProto) -> str:
    """The dotted name of the detector's module that a node came from."""
    return next((entry.value for entry in node.metadata_props if entry.key == MODULE_KEY), "")


def of_a_module(node: onnx.NodeProto) -> bool:
    """Whether a node is a module's own, and no part of what a detection operator became: by its name (see `lower`)."""
    own = "/".join(part for part in (module_of(node), node.op_type) if part)
    return re.fullmatch(rf"{re.escape(own)}_\d+", node.name) is not None


def rounded_nodes(graph: onnx.GraphProto, float_layers: Sequence[str], unseen: Collection[str] = ()) -> list[str]:
    """The names of the nodes that compute in 8 bits, in the graph's order.

    Args:
        float_layers: names of modules, or globs of them, whose layers stay float32; so do those of the modules in them.
        unseen: values of which the sample had none.

    Raises:
        ConfigError: one that names no layer.
    """
    nodes = Nodes.of(graph)
    layers = [node for node in nodes.all if _is_layer(node, nodes)]
    kept = _matched(float_layers, [module_of(node) for node in layers])
    seen = [node for node in layers if not {node.input[0], node.output[0]} & set(unseen)]
    chosen = {node.name for node in seen if not _any_of(module_of(node), kept)}
    chosen -= {node.name for node in layers if not _leads_to_a_layer(node, nodes)}
    chosen -= _first_layers(nodes)
    carriers = _carriers(nodes, chosen, kept)
    return [node.name for node in nodes.all if node.name in chosen or node.name in carriers]


def _is_layer(node: onnx.NodeProto, nodes: Nodes) -> bool:
    return of_a_module(node) and node.op_type in LAYERS and all(name in nodes.constants for name in node.input[1:])


def _may_carry(node: onnx.NodeProto) -> bool:
    return of_a_module(node) and node.op_type in CARRIERS and len(node.output) == 1


def _leads_to_a_layer(node: onnx.NodeProto, nodes: Nodes) -> bool:
    """Whether what a layer gives comes to another layer (a transposed convolution too), in the same head."""
    waiting, met = list(node.output), set(node.output)
    while waiting:
        for reader in nodes.readers.get(waiting.pop(), ()):
            if not of_a_module(reader):
                continue
            if reader.op_type in (*LAYERS, "ConvTranspose"):
                return True
            waiting += [name for name in reader.output if name not in met]
            met.update(reader.output)
    return False


def _first_layers(nodes: Nodes) -> set[str]:
    """Layers with no other between them and the graph's inputs."""
    behind: set[str] = set()
    first = set()
    for node in nodes.all:
        if any(name in behind for name in node.input):
            behind.update(node.output)
        elif _is_layer(node, nodes):
            first.add(node.name)
            behind.update(node.output)
    return first


def _carriers(nodes: Nodes, chosen: Collection[str], kept: Sequence[str]) -> set[str]:
    """What lies behind rounded layers: the map that it takes comes from them."""
    found: set[str] = set()
    for node in nodes.all:
        if _may_carry(node) and not _any_of(module_of(node), kept):
            maker = nodes.producers.get(node.input[0])
            if maker is not None and (maker.name in chosen or maker.name in found):
                found.add(node.name)
    return found


def _matched(patterns: Sequence[str], layers: Sequence[str]) -> Sequence[str]:
    """The patterns as they are.

    Raises:
        ConfigError: one matches no layer.
    """
    known = dict.fromkeys(name for layer in layers for name in _with_parents(layer))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            close = get_close_matches(pattern, known, _CLOSE, cutoff=0.5) or sorted(known)[:_CLOSE]
            raise ConfigError(
                f"float_layers: no layer of the model is named {pattern!r}; write a module's name or a glob, such as "
                f"{', '.join(close)}"
            )
    return patterns


def _any_of(module: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in _with_parents(module))


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]
