"""Over the height and width of maps: convolutions, pooling, norms, scaling, padding."""

import onnx_ir as ir

from roastery.caffe2.operators.table import ArgumentValue, NetOperator, attribute, entry, names_of, refuse, require
from roastery.caffe2.passes import constant_value


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
    kernels = attribute(node, "kernel_shape", [])
    require(node, "dilations", [1] * len(kernels), "Caffe2's MaxPool has no dilation")
    arguments = {
        "kernels": kernels,
        "strides": attribute(node, "strides", [1] * len(kernels)),
        "pads": attribute(node, "pads", [0] * 2 * len(kernels)),
    }
    return NetOperator("MaxPool", names_of(node.inputs), names_of(node.outputs)[:1], arguments)


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
def _resize_nearest(node: ir.Node) -> NetOperator:
    if attribute(node, "mode", "nearest") == "linear":
        # Those that it has a form for have been replaced (`bilinear`).
        raise refuse(node, "bilinear scaling is exact by constant whole factors alone, and with align_corners=False")
    require(node, "mode", "nearest", "Caffe2 scales by the nearest pixel, or bilinearly")
    require(node, "coordinate_transformation_mode", "asymmetric", "Caffe2 has nearest scaling from the corner")
    require(node, "nearest_mode", "floor", "Caffe2 rounds down")
    scales = constant_value(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is None or scales.shape != (4,) or scales[0] != 1 or scales[1] != 1:
        raise refuse(node, "only height and width scaled by constants become a ResizeNearest")
    arguments: dict[str, ArgumentValue] = {
        "order": "NCHW",
        "width_scale": float(scales[3]),
        "height_scale": float(scales[2]),
    }
    return NetOperator("ResizeNearest", names_of(node.inputs[:1]), names_of(node.outputs), arguments)


@entry("Pad")
def _pad(node: ir.Node) -> NetOperator:
    require(node, "mode", "edge", "only the border repeated is padded with here")
    pads = constant_value(node.inputs[1])
    if len(node.inputs) > 3 or pads is None or pads.shape != (8,) or pads[[0, 1, 4, 5]].any() or min(pads.tolist()) < 0:
        raise refuse(node, "only height and width padded by constants become a PadImage")
    top, left, bottom, right = (int(size) for size in pads[[2, 3, 6, 7]])
    arguments: dict[str, ArgumentValue] = {"mode": "edge", "pads": [top, left, bottom, right], "order": "NCHW"}
    return NetOperator("PadImage", names_of(node.inputs[:1]), names_of(node.outputs), arguments)


def _kernel(node: ir.Node) -> list[int]:
    weight = node.inputs[1]
    sizes = list(weight.shape)[2:] if weight is not None and weight.shape is not None else []
    kernel: list[int] = attribute(node, "kernel_shape", [size for size in sizes if isinstance(size, int)])
    return kernel
