"""Over the height and width of maps: convolutions, pooling, norms, scaling, padding."""

import numpy as np
import onnx_ir as ir

from roastery.caffe2.operators.table import (
    ArgumentValue,
    NetOperator,
    attribute,
    axis_of,
    entry,
    names_of,
    refuse,
    require,
)
from roastery.onnx_graph import constant_value


@entry("Conv")
def _convolution(node: ir.Node) -> NetOperator:
    require(node, "auto_pad", "NOTSET", "padding must be written out")
    kernels = _kernel(node)
    return NetOperator(
        "Conv",
        names_of(node.inputs),
        names_of(node.outputs),
        {
            "kernels": kernels,
            "strides": attribute(node, "strides", [1] * len(kernels)),
            "pads": attribute(node, "pads", [0] * 2 * len(kernels)),
            "dilations": attribute(node, "dilations", [1] * len(kernels)),
            "group": attribute(node, "group", 1),
        },
    )


@entry("ConvTranspose")
def _transposed_convolution(node: ir.Node) -> NetOperator:
    require(node, "auto_pad", "NOTSET", "padding must be written out")
    kernels = _kernel(node)
    require(node, "dilations", [1] * len(kernels), "Caffe2's ConvTranspose has no dilation")
    arguments: dict[str, ArgumentValue] = {
        "kernels": kernels,
        "strides": attribute(node, "strides", [1] * len(kernels)),
        "pads": attribute(node, "pads", [0] * 2 * len(kernels)),
        "group": attribute(node, "group", 1),
    }
    adjustment = attribute(node, "output_padding", [0] * len(kernels))
    if any(adjustment):
        arguments["adjs"] = adjustment
    return NetOperator("ConvTranspose", names_of(node.inputs), names_of(node.outputs), arguments)


@entry("MaxPool")
def _max_pool(node: ir.Node) -> NetOperator:
    require(node, "auto_pad", "NOTSET", "padding must be written out")
    require(node, "ceil_mode", 0, "Caffe2 rounds the size down")
    kernels = _height_and_width(node, attribute(node, "kernel_shape", []))
    require(node, "dilations", [1] * len(kernels), "Caffe2's MaxPool has no dilation")
    arguments = {
        "kernels": kernels,
        "strides": attribute(node, "strides", [1] * len(kernels)),
        "pads": attribute(node, "pads", [0] * 2 * len(kernels)),
    }
    return NetOperator("MaxPool", names_of(node.inputs), names_of(node.outputs)[:1], arguments)


@entry("AveragePool")
def _average_pool(node: ir.Node) -> NetOperator:
    require(node, "auto_pad", "NOTSET", "padding must be written out")
    require(node, "ceil_mode", 0, "Caffe2 rounds the size down")
    kernels = _height_and_width(node, attribute(node, "kernel_shape", []))
    require(node, "dilations", [1] * len(kernels), "Caffe2's AveragePool has no dilation")
    arguments: dict[str, ArgumentValue] = {
        "kernels": kernels,
        "strides": attribute(node, "strides", [1] * len(kernels)),
        "pads": attribute(node, "pads", [0] * 2 * len(kernels)),
    }
    if attribute(node, "count_include_pad", 0):
        arguments["count_include_pad"] = 1
    return NetOperator("AveragePool", names_of(node.inputs), names_of(node.outputs), arguments)


@entry("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: ir.Node) -> NetOperator:
    _require_maps(node)
    return NetOperator(
        node.op_type.removeprefix("Global"), names_of(node.inputs), names_of(node.outputs), {"global_pooling": 1}
    )


@entry("GroupNormalization")
def _group_norm(node: ir.Node) -> NetOperator:
    epsilon = attribute(node, "epsilon", 1e-5)
    arguments: dict[str, ArgumentValue] = {
        "group": attribute(node, "num_groups", 1),
        "epsilon": epsilon,
        # Caffe2 reads `epsilon`; the original's nets say `eps`, and programs may look for it.
        "eps": epsilon,
        "order": "NCHW",
    }
    return NetOperator("GroupNorm", names_of(node.inputs), names_of(node.outputs), arguments)


@entry("Resize")
def _resize(node: ir.Node) -> NetOperator:
    linear = attribute(node, "mode", "nearest") == "linear"
    aligned = attribute(node, "coordinate_transformation_mode", "half_pixel") == "align_corners"
    if linear and not aligned:
        # Those that it has a form for have been replaced (`bilinear`).
        raise refuse(node, "bilinear scaling with align_corners=False is exact by constant whole factors and by 0.5")
    if not linear:
        require(node, "mode", "nearest", "Caffe2 scales by the nearest pixel, or bilinearly")
        require(node, "coordinate_transformation_mode", "asymmetric", "Caffe2 has nearest scaling from the corner")
        require(node, "nearest_mode", "floor", "Caffe2 rounds down")
    scales = constant_value(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is None or scales.shape != (4,) or scales[0] != 1 or scales[1] != 1:
        raise refuse(node, "only height and width can be scaled, by constants")
    arguments: dict[str, ArgumentValue] = {
        "order": "NCHW",
        "width_scale": float(scales[3]),
        "height_scale": float(scales[2]),
    }
    kind = "UpsampleBilinear" if linear else "ResizeNearest"
    return NetOperator(kind, names_of(node.inputs[:1]), names_of(node.outputs), arguments)


_PAD_MODES = ("constant", "edge", "reflect")


@entry("Pad")
def _pad(node: ir.Node) -> NetOperator:
    mode = attribute(node, "mode", "constant")
    if mode not in _PAD_MODES:
        raise refuse(node, f"mode={mode!r}: Caffe2 pads by a constant, the edge or a reflection")
    _require_maps(node)
    pads = constant_value(node.inputs[1])
    if _is_given(node, 3) or pads is None or pads.shape != (8,) or pads[[0, 1, 4, 5]].any() or min(pads.tolist()) < 0:
        raise refuse(node, "only height and width padded by constants become a PadImage; cut with a slice")
    top, left, bottom, right = (int(size) for size in pads[[2, 3, 6, 7]])
    arguments: dict[str, ArgumentValue] = {"mode": mode, "pads": [top, left, bottom, right], "order": "NCHW"}
    if mode == "constant" and _is_given(node, 2):
        value = constant_value(node.inputs[2])
        if value is None or value.size != 1 or value.dtype != np.float32:
            raise refuse(node, "the number that it pads with is no constant float32")
        arguments["value"] = float(value.item())
    return NetOperator("PadImage", names_of(node.inputs[:1]), names_of(node.outputs), arguments)


def _is_given(node: ir.Node, index: int) -> bool:
    return len(node.inputs) > index and node.inputs[index] is not None


def _require_maps(node: ir.Node) -> None:
    """Of tensors with other axes genuine Caffe2 gives numbers by chance."""
    _, rank = axis_of(node, 0)
    if rank != 4:
        raise refuse(node, f"its input has {rank} axes, and maps have 4")


def _kernel(node: ir.Node) -> list[int]:
    weight = node.inputs[1]
    sizes = list(weight.shape)[2:] if weight is not None and weight.shape is not None else []
    kernel: list[int] = attribute(node, "kernel_shape", [size for size in sizes if isinstance(size, int)])
    return _height_and_width(node, kernel)


def _height_and_width(node: ir.Node, kernel: list[int]) -> list[int]:
    if len(kernel) != 2:
        raise refuse(node, f"its kernel, {kernel}, is not of height and width")
    return kernel
