"""Batch norms of an ONNX graph, folded into the convolutions before them."""

import numpy as np
import onnx_ir as ir

from roastery.onnx_graph import constant_value, new_parameter, replace_value


def fold_batch_norms(graph: ir.Graph) -> None:
    """Fold each BatchNormalization into the convolution that alone feeds it, in float64.

    A convolution that several nodes share (a head over all levels) is folded with the norm of each use.
    """
    folded: dict[tuple[object, ...], tuple[ir.Value, ir.Value]] = {}
    for norm in list(graph):
        if norm.op_type != "BatchNormalization" or norm.domain != "" or norm.attributes.get_int("training_mode", False):
            continue
        convolution = norm.inputs[0].producer() if norm.inputs[0] is not None else None
        if convolution is None or convolution.op_type != "Conv" or not _feeds_one(graph, convolution.outputs[0]):
            continue
        weight, *bias = (constant_value(value) for value in convolution.inputs[1:])
        scale, shift, mean, variance = (constant_value(value) for value in norm.inputs[1:])
        if weight is None or scale is None or shift is None or mean is None or variance is None:
            continue
        # As ONNX files hold it: so a model in memory and the same model read from its file give the same net.
        epsilon = float(np.float32(norm.attributes.get_float("epsilon", 1e-5)))
        key = (*convolution.inputs[1:], *norm.inputs[1:], epsilon)
        if key not in folded:
            factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
            before = 0.0 if not bias or bias[0] is None else bias[0].astype(np.float64)
            folded_bias = (before - mean.astype(np.float64)) * factor + shift.astype(np.float64)
            folded_weight = weight.astype(np.float64) * factor.reshape(-1, *[1] * (weight.ndim - 1))
            # The folded weight keeps the convolution's name, its bias takes that of the norm: `conv1.norm.bias`.
            folded[key] = (
                new_parameter(graph, convolution.inputs[1], folded_weight.astype(np.float32)),
                new_parameter(graph, norm.inputs[2], folded_bias.astype(np.float32)),
            )
        convolution.resize_inputs(3)
        for index, value in enumerate(folded[key], start=1):
            convolution.replace_input_with(index, value)
        replace_value(graph, norm.outputs[0], convolution.outputs[0])
        graph.remove(norm, safe=True)


def _feeds_one(graph: ir.Graph, value: ir.Value) -> bool:
    return len(value.uses()) == 1 and value not in graph.outputs
