"""Batch norms folded into the convolutions before them."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from roastery.batch_norms import fold_batch_norms

GENERATOR = np.random.default_rng(0)


def graph_of(training: int = 0) -> ir.Graph:
    """A convolution of 3 to 4 channels and its norm."""
    parameters = {
        "conv.weight": GENERATOR.standard_normal((4, 3, 1, 1)),
        "norm.weight": GENERATOR.standard_normal(4),
        "norm.bias": GENERATOR.standard_normal(4),
        "norm.mean": GENERATOR.standard_normal(4),
        "norm.variance": GENERATOR.uniform(0.5, 2, 4),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["data", "conv.weight"], ["mapped"]),
            helper.make_node(
                "BatchNormalization",
                ["mapped", *list(parameters)[1:]],
                ["normed"],
                epsilon=1e-5,
                training_mode=training,
            ),
        ],
        "net",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 2, 2])],
        [helper.make_tensor_value_info("normed", TensorProto.FLOAT, [1, 4, 2, 2])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in parameters.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)).graph


def test_the_folded_parameters_are_those_of_the_formula() -> None:
    graph = graph_of()
    before = {name: value.const_value.numpy().astype(np.float64) for name, value in graph.initializers.items()}
    fold_batch_norms(graph)
    assert [node.op_type for node in graph] == ["Conv"]
    factor = before["norm.weight"] / np.sqrt(before["norm.variance"] + 1e-5)
    (node,) = graph
    weight, bias = (value.const_value.numpy() for value in node.inputs[1:])
    np.testing.assert_allclose(weight, before["conv.weight"] * factor[:, None, None, None], rtol=1e-6)
    np.testing.assert_allclose(bias, before["norm.bias"] - before["norm.mean"] * factor, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("training", "left"), [(0, 1), (1, 2)])
def test_a_norm_of_the_batch_at_hand_is_not_folded(training: int, left: int) -> None:
    graph = graph_of(training)
    fold_batch_norms(graph)
    assert len(list(graph)) == left
