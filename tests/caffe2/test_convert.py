"""ONNX to NetDef: parameters, names and what is folded away."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.convert import NET_NAME, convert
from roastery.caffe2.kernels.fills import packed_floats
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.errors import ModelFileError, UnsupportedOperator
from roastery.metadata import NET_ARGUMENTS_KEY


def _model(nodes: list[onnx.NodeProto], parameters: dict[str, np.ndarray], output: str = "y") -> ir.Model:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 2, 4, 4])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in parameters.items()],
    )
    opset = helper.make_opsetid("", 21)
    return ir.from_proto(helper.make_model(graph, opset_imports=[opset], ir_version=10))


def _filled(init: caffe2_pb2.NetDef) -> dict[str, np.ndarray]:
    found = {}
    for operator in init.op:
        arguments = {argument.name: argument for argument in operator.arg}
        found[operator.output[0]] = packed_floats(arguments["values"]).reshape(list(arguments["shape"].ints))
    return found


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=9), elements=st.floats(width=32, allow_nan=False)))
def test_a_parameter_is_filled_with_its_values_bit_for_bit(array: np.ndarray) -> None:
    nets = convert(_model([helper.make_node("Add", ["data", "p"], ["y"])], {"p": array}))
    assert _filled(nets.init_net)["p"].tobytes() == array.tobytes()


def test_parameters_follow_the_inputs_in_the_order_of_their_use_each_once() -> None:
    nodes = [
        helper.make_node("Mul", ["data", "b"], ["t"]),
        helper.make_node("Add", ["t", "a"], ["u"]),
        helper.make_node("Sub", ["u", "b"], ["y"]),
    ]
    nets = convert(_model(nodes, {"a": np.ones(1, np.float32), "b": np.ones(1, np.float32)}))
    assert list(nets.predict_net.external_input) == ["data", "b", "a"]
    assert list(nets.init_net.external_output) == ["b", "a"]
    assert [op.output[0] for op in nets.init_net.op] == ["b", "a"]


def test_a_parameter_that_nothing_uses_is_left_out() -> None:
    nets = convert(_model([helper.make_node("Relu", ["data"], ["y"])], {"unused": np.ones(3, np.float32)}))
    assert list(nets.predict_net.external_input) == ["data"]
    assert len(nets.init_net.op) == 0


def test_the_net_has_the_originals_name_and_the_graphs_outputs() -> None:
    nets = convert(_model([helper.make_node("Relu", ["data"], ["y"])], {}))
    assert nets.predict_net.name == NET_NAME
    assert list(nets.predict_net.external_output) == ["y"]


def test_a_batch_norm_is_folded_into_its_convolution_in_float64() -> None:
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(3, 2, 1, 1)).astype(np.float32)
    scale, shift, mean = generator.normal(size=(3, 3)).astype(np.float32)
    variance = generator.uniform(0.5, 2, 3).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["t"], kernel_shape=[1, 1]),
        helper.make_node("BatchNormalization", ["t", "s", "b", "m", "v"], ["y"], epsilon=1e-3),
    ]
    nets = convert(_model(nodes, {"w": weight, "s": scale, "b": shift, "m": mean, "v": variance}))
    assert [op.type for op in nets.predict_net.op] == ["Conv"]
    assert list(nets.predict_net.external_output) == ["y"]
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + np.float32(1e-3))
    filled = _filled(nets.init_net)
    np.testing.assert_array_equal(filled["w"], (weight * factor.reshape(3, 1, 1, 1)).astype(np.float32))
    np.testing.assert_array_equal(filled["b"], (shift - mean * factor).astype(np.float32))


def test_a_batch_norm_after_a_convolution_that_others_read_too_is_left() -> None:
    parameters = {name: np.ones(3, np.float32) for name in "sbmv"} | {"w": np.ones((3, 2, 1, 1), np.float32)}
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["t"], kernel_shape=[1, 1]),
        helper.make_node("BatchNormalization", ["t", "s", "b", "m", "v"], ["u"]),
        helper.make_node("Add", ["t", "u"], ["y"]),
    ]
    nets = convert(_model(nodes, parameters))
    assert [op.type for op in nets.predict_net.op] == ["Conv", "SpatialBN", "Add"]


def test_an_identity_between_operators_is_dropped_and_the_output_keeps_its_name() -> None:
    nodes = [
        helper.make_node("Identity", ["data"], ["t"]),
        helper.make_node("Relu", ["t"], ["u"]),
        helper.make_node("Identity", ["u"], ["y"]),
    ]
    nets = convert(_model(nodes, {}))
    assert [(op.type, list(op.input), list(op.output)) for op in nets.predict_net.op] == [("Relu", ["data"], ["y"])]


def test_an_identity_that_alone_makes_an_output_is_refused() -> None:
    with pytest.raises(UnsupportedOperator, match="Identity"):
        convert(_model([helper.make_node("Identity", ["data"], ["y"])], {}))


def test_a_constant_becomes_a_parameter() -> None:
    value = onnx.numpy_helper.from_array(np.array([2.0], np.float32))
    nodes = [helper.make_node("Constant", [], ["c"], value=value), helper.make_node("Mul", ["data", "c"], ["y"])]
    nets = convert(_model(nodes, {}))
    assert list(nets.predict_net.external_input) == ["data", "c"]
    np.testing.assert_array_equal(_filled(nets.init_net)["c"], [2.0])


_MATRIX = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize(
    ("node", "parameter", "others", "expected"),
    [
        (helper.make_node("Cast", ["p"], ["c"], to=TensorProto.FLOAT), np.array(2), {}, np.float32(2)),
        (helper.make_node("CastLike", ["p", "data"], ["c"]), np.array([2, 3]), {}, np.array([2, 3], np.float32)),
        (helper.make_node("Transpose", ["p"], ["c"], perm=[1, 0]), _MATRIX, {}, _MATRIX.T),
        (helper.make_node("Transpose", ["p"], ["c"]), _MATRIX, {}, _MATRIX.T),
        (helper.make_node("Reshape", ["p", "s"], ["c"]), _MATRIX, {"s": np.array([6, 1])}, _MATRIX.reshape(6, 1)),
        (helper.make_node("Unsqueeze", ["p", "s"], ["c"]), _MATRIX, {"s": np.array([0, -1])}, _MATRIX[None, ..., None]),
    ],
    ids=["cast", "cast like", "transpose", "transpose all", "reshape", "unsqueeze"],
)
def test_what_is_made_of_constants_alone_is_worked_out_under_the_parameters_name(
    node: onnx.NodeProto, parameter: np.ndarray, others: dict[str, np.ndarray], expected: np.ndarray
) -> None:
    model = _model([node, helper.make_node("Mul", ["data", "c"], ["y"])], {"p": parameter, **others})
    nets = convert(model)
    assert [(op.type, list(op.input)) for op in nets.predict_net.op] == [("Mul", ["data", "p"])]
    filled = _filled(nets.init_net)["p"]
    assert filled.shape == expected.shape
    np.testing.assert_array_equal(filled, expected)


def test_a_constant_that_others_read_as_it_is_keeps_its_values() -> None:
    nodes = [
        helper.make_node("Transpose", ["p"], ["c"]),
        helper.make_node("Mul", ["data", "c"], ["t"]),
        helper.make_node("Add", ["t", "p"], ["y"]),
    ]
    square = np.arange(16, dtype=np.float32).reshape(4, 4)
    filled = _filled(convert(_model(nodes, {"p": square})).init_net)
    np.testing.assert_array_equal(filled["p"], square)
    np.testing.assert_array_equal(filled["p_folded"], square.T)


@pytest.mark.parametrize("sizes", [[9, 9], [-1, 7], [0, 6]], ids=["others", "one to be worked out", "as before"])
def test_a_reshape_of_a_constant_that_makes_no_sense_or_asks_for_the_old_shape_is_left(sizes: list[int]) -> None:
    nodes = [helper.make_node("Reshape", ["p", "s"], ["c"]), helper.make_node("Mul", ["data", "c"], ["y"])]
    nets = convert(_model(nodes, {"p": _MATRIX, "s": np.array(sizes)}))
    assert [op.type for op in nets.predict_net.op] == ["Reshape", "Mul"]


def test_a_parameter_of_another_type_is_refused_by_name() -> None:
    nodes = [helper.make_node("Add", ["data", "half"], ["y"])]
    with pytest.raises(UnsupportedOperator, match="parameter 'half': Caffe2 has no fill for float16"):
        convert(_model(nodes, {"half": np.ones(1, np.float16)}))


@pytest.mark.parametrize("norms", [("n", "n"), ("n", "k")], ids=["one_norm", "two_norms"])
def test_a_convolution_that_is_used_twice_is_folded_with_the_norm_of_each_use(norms: tuple[str, str]) -> None:
    """As heads that all levels share have it: each use keeps its own product of weight and norm."""
    generator = np.random.default_rng(0)
    parameters = {"w": generator.normal(size=(2, 2, 1, 1)).astype(np.float32)}
    for norm in dict.fromkeys(norms):
        parameters |= {f"{norm}.{name}": generator.uniform(0.5, 2, 2).astype(np.float32) for name in "sbmv"}
    nodes = [helper.make_node("Relu", ["data"], ["r"])]
    for source, conv, out, norm in (("data", "t", "u", norms[0]), ("r", "t2", "u2", norms[1])):
        nodes.append(helper.make_node("Conv", [source, "w"], [conv], kernel_shape=[1, 1]))
        nodes.append(helper.make_node("BatchNormalization", [conv, *(f"{norm}.{p}" for p in "sbmv")], [out]))
    nodes.append(helper.make_node("Sub", ["u", "u2"], ["y"]))
    data = generator.normal(size=(1, 2, 4, 4)).astype(np.float32)

    def normalised(x: np.ndarray, norm: str) -> np.ndarray:
        scale, shift, mean, variance = (parameters[f"{norm}.{p}"].astype(np.float64).reshape(2, 1, 1) for p in "sbmv")
        convolved = np.einsum("oi,ihw->ohw", parameters["w"][:, :, 0, 0].astype(np.float64), x[0])
        return (convolved - mean) / np.sqrt(variance + np.float32(1e-5)) * scale + shift

    expected = normalised(data, norms[0]) - normalised(np.maximum(data, 0), norms[1])
    outputs = TorchRuntime(convert(_model(nodes, parameters))).run({"data": data})
    np.testing.assert_allclose(outputs["y"][0], expected, rtol=1e-4, atol=1e-5)


def test_a_convolution_whose_own_output_is_the_nets_is_not_folded() -> None:
    parameters = {name: np.ones(3, np.float32) for name in "sbmv"} | {"w": np.ones((3, 2, 1, 1), np.float32)}
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["y"], kernel_shape=[1, 1]),
        helper.make_node("BatchNormalization", ["y", "s", "b", "m", "v"], ["u"]),
    ]
    nets = convert(_model(nodes, parameters))
    assert [op.type for op in nets.predict_net.op] == ["Conv", "SpatialBN"]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "{",
            "null",
            "[]",
            "[" * 100_000,
            '{"a": null}',
            '{"a": {}}',
            '{"a": true}',
            '{"a": ["x"]}',
            '{"a": [[1]]}',
        ),
        *(
            '{"a": 9223372036854775808}',
            '{"a": [1, 9223372036854775808]}',
            '{"a": "\\ud800"}',
            '{"\\ud800": 1}',
            "9" * 9000,
        ),
    ],
)
def test_net_arguments_that_are_not_numbers_and_texts_are_refused(text: str) -> None:
    model = _model([helper.make_node("Relu", ["data"], ["y"])], {})
    model.metadata_props[NET_ARGUMENTS_KEY] = text
    with pytest.raises(ModelFileError, match="are not numbers, texts and lists of numbers by name; export it again"):
        convert(model)


@pytest.mark.parametrize("values", [{"float_data": [1.0, 2.0, 3.0]}, {"raw_data": b"abc"}])
def test_a_constant_whose_values_do_not_fit_its_shape_is_refused(values: dict[str, Any]) -> None:
    damaged = TensorProto(data_type=TensorProto.FLOAT, dims=[2], **values)
    nodes = [helper.make_node("Constant", [], ["k"], value=damaged), helper.make_node("Add", ["data", "k"], ["y"])]
    with pytest.raises(ModelFileError, match="the ONNX tensor 'k' is damaged"):
        convert(_model(nodes, {}))
