"""A net as a picture: operators are boxes, blobs the edges between them."""

from pathlib import Path

from roastery.caffe2 import caffe2_pb2
from roastery.graph_drawing import TIMEOUT_SECONDS, DrawnGraph, DrawnOperator, draw_graph, graph_source

DRAWING_FILE = "model.svg"


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
    draw_graph(_drawn(net), path, timeout)


def dot_source(net: caffe2_pb2.NetDef) -> str:
    """The picture in graphviz's language."""
    return graph_source(_drawn(net))


def _drawn(net: caffe2_pb2.NetDef) -> DrawnGraph:
    operators = [DrawnOperator(each.type, each.name, each.input, each.output) for each in net.op]
    return DrawnGraph(_drawn_inputs(net), operators, net.external_output)


def _drawn_inputs(net: caffe2_pb2.NetDef) -> list[str]:
    """The external inputs that are no parameters: the original's nets list them first, then the parameters.

    Nothing in a predict net alone tells them apart but the names that every detector's net has.
    """
    inputs = [name for name in net.external_input if name in ("data", "im_info", "rois")]
    return inputs or list(net.external_input[:1])
