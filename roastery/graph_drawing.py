"""A graph as a picture: operators are boxes, values the edges between them."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import graphviz

from roastery.errors import DrawingUnavailable

# A model-zoo net takes about a second; what takes longer is no picture for a person.
TIMEOUT_SECONDS = 60.0
_LONGEST_NAME = 60
# Neither XML nor dot can carry them.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_GRAPH_STYLE = {"rankdir": "TB", "nodesep": "0.2", "ranksep": "0.3"}
_NODE_STYLE = {
    "shape": "box",
    "style": "rounded,filled",
    "fillcolor": "#f4ede4",
    "fontname": "sans-serif",
    "fontsize": "11",
}
_END_STYLE = {"shape": "ellipse", "style": "filled", "fillcolor": "#dcebd3"}
_EDGE_STYLE = {"fontname": "sans-serif", "fontsize": "9", "color": "#6b5b4b"}


@dataclass(frozen=True)
class DrawnOperator:
    """An operator of a graph: its type, what it is called, and its values by name; "" is one that is left out."""

    type: str
    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]


@dataclass(frozen=True)
class DrawnGraph:
    """A graph in the order of its operators. Of the inputs, parameters are none."""

    inputs: Sequence[str]
    operators: Iterable[DrawnOperator]
    outputs: Sequence[str]


def draw_graph(graph: DrawnGraph, path: Path, timeout: float = TIMEOUT_SECONDS) -> None:
    """Draw a graph as SVG; equal graphs give equal bytes.

    An operator's parameters (values that nothing in the graph writes, beside its inputs) are counted in its box and
    not drawn one by one.

    Args:
        path: the SVG to write; it is there whole or not at all.
        timeout: seconds that the layout may take.

    Raises:
        DrawingUnavailable: graphviz's `dot` is not installed, failed, or took too long.
    """
    svg = _run_dot(graph_source(graph), timeout)
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_bytes(svg)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def graph_source(graph: DrawnGraph) -> str:
    """The picture in graphviz's language."""
    drawn = graphviz.Digraph("net", graph_attr=_GRAPH_STYLE, node_attr=_NODE_STYLE, edge_attr=_EDGE_STYLE)
    # Who wrote a value last, so far: a blob may be written again.
    writers: dict[str, str] = {}
    for index, name in enumerate(graph.inputs):
        writers[name] = f"input{index}"
        drawn.node(writers[name], _label([name]), **_END_STYLE)
    for index, operator in enumerate(graph.operators):
        node = f"op{index}"
        parameters = [value for value in operator.inputs if value and value not in writers]
        drawn.node(node, _label([operator.type, operator.name, _count(parameters)]))
        for value in operator.inputs:
            if value in writers:
                drawn.edge(writers[value], node, _label([value]))
        writers.update(dict.fromkeys(operator.outputs, node))
    for index, value in enumerate(graph.outputs):
        if value in writers:
            drawn.node(f"output{index}", _label([value]), **_END_STYLE)
            drawn.edge(writers[value], f"output{index}")
    return str(drawn.source)


def _count(parameters: Iterable[str]) -> str:
    count = len(list(parameters))
    return f"{count} parameter{'s' if count > 1 else ''}" if count else ""


def _label(lines: Iterable[str]) -> Any:
    """A label that shows the lines as they are: no escape of dot's, no HTML label, no control character."""
    shown = [_shorten(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", line)) for line in lines if line]
    # dot reads escapes and entities in a quoted label; `nohtml` keeps it from reading one in <> as markup.
    quoted = [line.replace("\\", "\\\\").replace("&", "&amp;") for line in shown]
    return graphviz.nohtml("\\n".join(quoted))


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 20]}…{name[-19:]}"


def _run_dot(source: str, timeout: float) -> bytes:
    dot = shutil.which("dot")
    if dot is None:
        raise DrawingUnavailable("graphviz's `dot` is not installed; install it (Debian: apt install graphviz)")
    try:
        done = subprocess.run([dot, "-Tsvg"], input=source.encode(), capture_output=True, timeout=timeout, check=True)
    except subprocess.TimeoutExpired as error:
        raise DrawingUnavailable(f"graphviz's `dot` did not draw the net within {timeout:g} s") from error
    except (subprocess.CalledProcessError, OSError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise DrawingUnavailable(f"graphviz's `dot` failed: {said.decode(errors='replace').strip()[:500]}") from error
    return bytes(done.stdout)
