"""A net as a picture: operators are boxes, blobs the edges between them."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import graphviz

from roastery.caffe2 import caffe2_pb2
from roastery.errors import DrawingUnavailable

DRAWING_FILE = "model.svg"
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


def draw_svg(net: caffe2_pb2.NetDef, path: Path, timeout: float = TIMEOUT_SECONDS) -> None:
    """Draw a net; equal nets give equal bytes.

    An operator's parameters (blobs that nothing in the net writes, beside the inputs `data` and `im_info`) are counted
    in its box and not drawn one by one.

    Args:
        path: the SVG to write; it is there whole or not at all.
        timeout: seconds that the layout may take.

    Raises:
        DrawingUnavailable: graphviz's `dot` is not installed, failed, or took too long.
    """
    svg = _run_dot(dot_source(net), timeout)
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_bytes(svg)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def dot_source(net: caffe2_pb2.NetDef) -> str:
    """The picture in graphviz's language."""
    graph = graphviz.Digraph("net", graph_attr=_GRAPH_STYLE, node_attr=_NODE_STYLE, edge_attr=_EDGE_STYLE)
    drawn_inputs = _drawn_inputs(net)
    # Who wrote a blob last, so far: a blob may be written again.
    writers: dict[str, str] = {}
    for index, name in enumerate(drawn_inputs):
        writers[name] = f"input{index}"
        graph.node(writers[name], _label([name]), **_END_STYLE)
    for index, operator in enumerate(net.op):
        node = f"op{index}"
        parameters = [blob for blob in operator.input if blob not in writers]
        graph.node(node, _label([operator.type, operator.name, _count(parameters)]))
        for blob in operator.input:
            if blob in writers:
                graph.edge(writers[blob], node, _label([blob]))
        writers.update(dict.fromkeys(operator.output, node))
    for index, blob in enumerate(net.external_output):
        if blob in writers:
            graph.node(f"output{index}", _label([blob]), **_END_STYLE)
            graph.edge(writers[blob], f"output{index}")
    return str(graph.source)


def _drawn_inputs(net: caffe2_pb2.NetDef) -> list[str]:
    """The external inputs that are no parameters: the original's nets list them first, then the parameters.

    Nothing in a predict net alone tells them apart but the names that every detector's net has.
    """
    inputs = [name for name in net.external_input if name in ("data", "im_info", "rois")]
    return inputs or list(net.external_input[:1])


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
