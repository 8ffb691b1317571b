"""Bilinear upsampling in Caffe2, exactly PyTorch's.

Caffe2's own bilinear operators put the corner pixels' centres on each other, and the original's nets upsample by a
ConvTranspose with zeros beyond the border. Here the border is repeated first: padded by one pixel of the edge, a
depthwise ConvTranspose whose kernel falls off linearly gives what `F.interpolate(align_corners=False)` gives.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from roastery.onnx_graph import add_parameter, constant_value


def expand_bilinear(graph: ir.Graph) -> None:
    """Replace every bilinear Resize by whole factors with a Pad and a ConvTranspose; leave all others as they are."""
    for node in list(graph):
        factors = _factors(node)
        if factors is not None:
            _expand(graph, node, factors)


def _factors(node: ir.Node) -> tuple[int, int] | None:
    """The factors of height and width; None for what is no such Resize."""
    if node.op_type != "Resize" or node.domain != "" or node.attributes.get_string("mode", "nearest") != "linear":
        return None
    # Upwards, PyTorch's half_pixel and ONNX's are one; antialias matters downwards alone.
    if node.attributes.get_string("coordinate_transformation_mode", "half_pixel") != "half_pixel":
        return None
    x, scales = node.inputs[0], constant_value(node.inputs[2]) if len(node.inputs) > 2 else None
    if x is None or x.shape is None or len(x.shape) != 4 or not isinstance(x.shape[1], int):
        return None
    if scales is None or scales.shape != (4,) or not (scales[:2] == 1).all():
        return None
    height, width = (float(scale) for scale in scales[2:])
    whole = all(scale.is_integer() and 1 <= scale <= 64 for scale in (height, width))
    return (int(height), int(width)) if whole else None


def _expand(graph: ir.Graph, node: ir.Node, factors: tuple[int, int]) -> None:
    source, output = node.inputs[0], node.outputs[0]
    assert source is not None
    assert source.shape is not None
    channels = source.shape[1]
    assert isinstance(channels, int)
    pads = _parameter(graph, "bilinear_pads", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    vertical, horizontal = (_triangle(factor) for factor in factors)
    kernel = np.broadcast_to(np.outer(vertical, horizontal), (channels, 1, len(vertical), len(horizontal)))
    name = f"bilinear_{channels}_by_{factors[0]}_and_{factors[1]}"
    weight = _parameter(graph, name, np.ascontiguousarray(kernel, np.float32))
    # What the border was padded by is as many rows of the result, and the kernel reaches over the ends.
    over = [(factor + len(line)) // 2 for factor, line in zip(factors, (vertical, horizontal), strict=True)]
    pad = ir.node("Pad", [source, pads], {"mode": "edge"})
    upsample = ir.node(
        "ConvTranspose",
        [pad.outputs[0], weight],
        {
            "kernel_shape": [len(vertical), len(horizontal)],
            "strides": list(factors),
            "pads": over * 2,
            "group": channels,
        },
    )
    padded, upsampled = pad.outputs[0], upsample.outputs[0]
    padded.name, padded.type = f"{output.name}_padded", source.type
    padded.shape = ir.Shape([None, channels, None, None])
    upsampled.type, upsampled.shape = output.type, output.shape
    for created in (pad, upsample):
        created.metadata_props.update(node.metadata_props)
    graph.insert_before(node, [pad, upsample])
    ir.convenience.replace_all_uses_with(output, upsampled, replace_graph_outputs=True)
    upsampled.name, output.name = output.name, None
    graph.remove(node, safe=True)


def _triangle(factor: int) -> NDArray[np.float64]:
    """How a pixel's weight falls off over the pixels that are made of it: 2 * factor of them, one less if it is odd."""
    size = 2 * factor - factor % 2
    line: NDArray[np.float64] = 1.0 - np.abs(np.arange(size) - (size - 1) / 2) / factor
    return line


def _parameter(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """An initializer of this name, made the first time."""
    return graph.initializers[name] if name in graph.initializers else add_parameter(graph, name, array)
