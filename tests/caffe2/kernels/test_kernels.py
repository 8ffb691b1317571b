"""Each standard kernel beside genuine Caffe2 on arguments of every kind, and beside numpy where a line will do."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.kernels import kernels
from roastery.caffe2.nets import Nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.errors import ModelFileError, OperatorError, UnsupportedOperator

Array = NDArray[Any]
MakeNets = Callable[..., Nets]


def values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """An operator on inputs; `expected` gives its outputs by numpy."""

    name: str
    type: str
    inputs: Sequence[Array]
    arguments: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    expected: Callable[..., Any] | None = None


X = values(2, 8, 7, 9)
W = values(6, 8, 3, 3, seed=1)
BIAS = values(6, seed=2)
T = values(8, 4, 3, 3, seed=3)
M = values(5, 6, seed=4)
WINDOW = {"kernels": [3, 3], "strides": [2, 1]}


def nearest(x: Array, height: float, width: float) -> Array:
    rows = np.minimum(
        (np.arange(int(np.float32(x.shape[2]) * np.float32(height))) / height).astype(int), x.shape[2] - 1
    )
    columns = np.minimum(
        (np.arange(int(np.float32(x.shape[3]) * np.float32(width))) / width).astype(int), x.shape[3] - 1
    )
    return x[:, :, rows][:, :, :, columns]


def softmax(x: Array) -> Array:
    exponentials = np.exp(x - x.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


CASES = [
    # Element by element.
    Case("add", "Add", [X, values(2, 8, 7, 9, seed=5)], expected=np.add),
    Case("add_broadcast", "Add", [X, values(8, 1, 1, seed=5)], expected=np.add),
    Case("add_broadcast_left", "Add", [values(8, 1, 1, seed=5), X], expected=np.add),
    Case("sub_int64", "Sub", [np.arange(5), np.arange(5)[::-1].copy()], expected=np.subtract),
    Case(
        "div_int32_towards_zero",
        "Div",
        [np.array([-7, 7, 9], np.int32), np.array([2, -2, 4], np.int32)],
        expected=lambda a, b: np.trunc(a / b).astype(np.int32),
    ),
    Case("mul_legacy_suffix", "Mul", [X, values(7, 9, seed=5)], {"broadcast": 1}, expected=np.multiply),
    Case(
        "mul_legacy_axis",
        "Mul",
        [X, values(8, 7, seed=5)],
        {"broadcast": 1, "axis": 1},
        expected=lambda a, b: a * b[:, :, None],
    ),
    Case("div_legacy_scalar", "Div", [X, values(1, seed=5)], {"broadcast": 1}, expected=np.divide),
    Case("div_empty", "Div", [X[:0], values(8, 1, 1)], expected=np.divide),
    Case("sum", "Sum", [M, 2 * M, 3 * M], expected=lambda a, b, c: a + b + c),
    Case("relu", "Relu", [X], expected=lambda x: np.maximum(x, 0)),
    Case("relu_nan", "Relu", [np.array([np.nan, np.inf, -np.inf, 1.0] * 9, np.float32)]),
    Case("sigmoid", "Sigmoid", [30 * X], expected=lambda x: 1 / (1 + np.exp(-x.astype(np.float64)))),
    Case("exp", "Exp", [X], expected=np.exp),
    Case("clip", "Clip", [X], {"min": -0.5, "max": 0.25}, expected=lambda x: x.clip(-0.5, 0.25)),
    Case("clip_from_below", "Clip", [X], {"min": -0.5}, expected=lambda x: x.clip(-0.5)),
    Case("clip_from_above", "Clip", [X], {"max": 0.25}, expected=lambda x: x.clip(None, 0.25)),
    Case("abs", "Abs", [X], expected=np.abs),
    Case("erf", "Erf", [X], expected=np.vectorize(math.erf)),
    Case("log", "Log", [np.abs(X) + 0.5], expected=np.log),
    Case("reciprocal", "Reciprocal", [np.abs(X) + 0.5], expected=lambda x: 1 / x),
    Case("sqrt", "Sqrt", [np.abs(X)], expected=np.sqrt),
    Case("sqrt_float64", "Sqrt", [np.abs(X).astype(np.float64)], expected=np.sqrt),
    Case("negative_int64", "Negative", [np.arange(-3, 4)], expected=np.negative),
    Case("tanh", "Tanh", [30 * X], expected=np.tanh),
    Case("leaky_relu", "LeakyRelu", [X], {"alpha": 0.2}, expected=lambda x: np.where(x < 0, 0.2 * x, x)),
    Case("leaky_relu_default", "LeakyRelu", [X], expected=lambda x: np.where(x < 0, 0.01 * x, x)),
    Case(
        "prelu",
        "PRelu",
        [X, values(8, seed=5)],
        expected=lambda x, slope: np.where(x < 0, slope[:, None, None] * x, x),
    ),
    Case("prelu_of_one", "PRelu", [X[:0], values(1)], expected=lambda x, slope: x),
    Case("elu", "Elu", [X], {"alpha": 2.0}, expected=lambda x: np.where(x < 0, 2 * np.expm1(x), x)),
    Case("selu_default", "Selu", [X], expected=lambda x: 1.0507 * np.where(x < 0, 1.67326 * np.expm1(x), x)),
    Case("selu", "Selu", [X], {"alpha": 2.0, "scale": 3.0}, expected=lambda x: np.where(x < 0, 6 * np.expm1(x), 3 * x)),
    Case("hard_sigmoid_default", "HardSigmoid", [X], expected=lambda x: (0.2 * x + 0.5).clip(0, 1)),
    Case("gelu", "Gelu", [3 * X], expected=lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2),
    Case(
        "gelu_fast",
        "Gelu",
        [3 * X],
        {"fast_gelu": 1},
        expected=lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    ),
    Case("mish", "Mish", [30 * X], expected=lambda x: x * np.tanh(np.logaddexp(0, x))),
    Case("pow_of_negatives", "Pow", [X], {"exponent": 3.0}, expected=lambda x: x**3),
    Case("pow_of_two", "Pow", [np.abs(M) + 0.1, M], expected=np.power),
    Case("pow_legacy", "Pow", [np.abs(M) + 0.1, values(5)], {"broadcast": 1, "axis": 0}),
    Case("batch_matmul", "BatchMatMul", [X, values(2, 8, 9, 3)], expected=np.matmul),
    Case("batch_matmul_broadcast", "BatchMatMul", [X, values(9, 3)], {"broadcast": 1}, expected=np.matmul),
    Case("batch_matmul_turned", "BatchMatMul", [M, M], {"trans_a": 1}, expected=lambda a, b: a.T @ b),
    Case("softmax_last", "Softmax", [M], {"axis": 1}, expected=softmax),
    Case("softmax_all_from_axis", "Softmax", [X], {"axis": 2}),
    Case("softmax_negative_axis", "Softmax", [X], {"axis": -1}),
    Case("fc", "FC", [M, values(3, 6), values(3)], expected=lambda x, w, b: x @ w.T + b),
    Case(
        "fc_axis2", "FC", [values(2, 3, 4), values(5, 4), values(5)], {"axis": 2}, expected=lambda x, w, b: x @ w.T + b
    ),
    Case("fc_axis_w", "FC", [values(3, 24), values(5, 4, 6), values(5)], {"axis_w": 1}),
    # Windows.
    Case("conv_pads_of_four", "Conv", [X, W, BIAS], WINDOW | {"pads": [0, 1, 2, 3]}),
    Case("conv_one_number", "Conv", [X, W], {"kernel": 3, "stride": 2, "pad": 1, "dilation": 2}),
    Case(
        "conv_each_side",
        "Conv",
        [X, W, BIAS],
        {"kernel_h": 3, "kernel_w": 3, "stride_h": 2, "stride_w": 1, "pad_t": 1, "pad_l": 2, "pad_b": 0, "pad_r": 1},
    ),
    Case("conv_depthwise", "Conv", [X, values(8, 1, 3, 3), values(8)], {"kernels": [3, 3], "group": 8}),
    Case("deconv_adjs", "ConvTranspose", [X, T, values(4)], {"kernels": [3, 3], "strides": [2, 2], "adjs": [1, 0]}),
    Case("deconv_pads_of_four", "ConvTranspose", [X, T], WINDOW | {"strides": [2, 2], "pads": [0, 1, 2, 1]}),
    Case("deconv_pads_and_adj", "ConvTranspose", [X, T], {"kernel": 3, "stride": 2, "pad": 1, "adj": 1}),
    Case(
        "deconv_depthwise",
        "ConvTranspose",
        [X, values(8, 1, 4, 4)],
        {"kernels": [4, 4], "strides": [2, 2], "pads": [3, 3, 3, 3], "group": 8},
    ),
    Case("max_pool_wide_pads", "MaxPool", [X], WINDOW | {"pads": [2, 2, 2, 2]}),
    Case("max_pool_pads_of_four", "MaxPool", [X], WINDOW | {"pads": [0, 1, 2, 1]}),
    Case("max_pool_global", "MaxPool", [X], {"global_pooling": 1}, expected=lambda x: x.max((2, 3), keepdims=True)),
    Case("max_pool_sizes_round_down", "MaxPool", [X], {"kernels": [2, 2], "strides": [2, 2]}),
    Case("reduce_mean", "ReduceMean", [X], {"axes": [2, 3], "keepdims": 0}, expected=lambda x: x.mean((2, 3))),
    Case("reduce_mean_kept", "ReduceMean", [X], {"axes": [1]}, expected=lambda x: x.mean(1, keepdims=True)),
    Case("reduce_mean_of_all", "ReduceMean", [X], {"keepdims": 1}, expected=lambda x: x.mean(keepdims=True)),
    Case("reduce_sum", "ReduceSum", [X], {"axes": [-1, 1]}, expected=lambda x: x.sum((1, 3), keepdims=True)),
    Case(
        "reduce_sum_int32",
        "ReduceSum",
        [np.arange(6, dtype=np.int32).reshape(2, 3)],
        {"axes": [0], "keepdims": 0},
        expected=lambda x: x.sum(0, dtype=np.int32),
    ),
    Case(
        "reduce_max_of_negatives", "ReduceMax", [-np.abs(X)], {"axes": [1], "keepdims": 0}, expected=lambda x: x.max(1)
    ),
    Case("reduce_max_of_nothing", "ReduceMax", [X[:0]], {"axes": [0]}),
    Case("reduce_min", "ReduceMin", [X], {"keepdims": 0}, expected=np.min),
    Case("average_pool", "AveragePool", [X], WINDOW | {"pads": [1, 1, 1, 1]}),
    Case("average_pool_pads_of_four", "AveragePool", [X], WINDOW | {"pads": [2, 0, 1, 1]}),
    Case("average_pool_counting", "AveragePool", [X], WINDOW | {"pads": [2, 0, 1, 1], "count_include_pad": 1}),
    Case(
        "average_pool_global",
        "AveragePool",
        [X],
        {"global_pooling": 1},
        expected=lambda x: x.mean((2, 3), keepdims=True),
    ),
    Case("group_norm_statistics", "GroupNorm", [X, values(8), values(8)], {"group": 4, "epsilon": 0.01}, outputs=3),
    Case("group_norm_default_epsilon", "GroupNorm", [1e-3 * X, values(8), values(8)], {"group": 2, "eps": 0.5}),
    Case("layer_norm", "LayerNorm", [X, values(7, 9), values(7, 9)], {"axis": 2, "elementwise_affine": 1}, outputs=3),
    Case("layer_norm_of_a_large_mean", "LayerNorm", [X + 100, M, M], {"epsilon": 0.1}, outputs=3),
    Case("batch_norm", "SpatialBN", [X, *values(3, 8), np.abs(values(8))], {"is_test": 1, "epsilon": 0.01}),
    Case("batch_norm_of_rows", "SpatialBN", [M, *values(3, 6), np.abs(values(6))], {"is_test": 1}),
    # Sizes.
    Case(
        "nearest_odd",
        "ResizeNearest",
        [X],
        {"height_scale": 1.7, "width_scale": 0.6},
        expected=lambda x: nearest(x, 1.7, 0.6),
    ),
    Case(
        "nearest_thrice",
        "ResizeNearest",
        [X],
        {"height_scale": 3.0, "width_scale": 3.0},
        expected=lambda x: nearest(x, 3, 3),
    ),
    Case(
        "nearest_mixed",
        "ResizeNearest",
        [X],
        {"height_scale": 4.0, "width_scale": 1.0},
        expected=lambda x: nearest(x, 4, 1),
    ),
    Case(
        "nearest_scales_blob",
        "ResizeNearest",
        [X, np.array([2, 1.5], np.float32)],
        expected=lambda x, scales: nearest(x, *scales.tolist()),
    ),
    Case("nearest_empty", "ResizeNearest", [X[:0]], {"height_scale": 2.0, "width_scale": 2.0}),
    Case("bilinear", "UpsampleBilinear", [X], {"height_scale": 2.5, "width_scale": 3.0}),
    Case("bilinear_scales_blob", "UpsampleBilinear", [X, np.array([2, 1], np.float32)]),
    Case("pad_constant", "PadImage", [X], {"pads": [1, 2, 3, 0], "value": 0.5}),
    Case("pad_edge", "PadImage", [X], {"mode": "edge", "pads": [1, 2, 3, 0]}),
    Case("pad_reflect", "PadImage", [X], {"mode": "reflect", "pad_t": 2, "pad_l": 0, "pad_b": 1, "pad_r": 3}),
    Case("pad_of_two_sides_only_is_none", "PadImage", [X], {"pad_t": 2, "pad_r": 3}, expected=lambda x: x),
    # What moves numbers.
    Case("concat", "Concat", [X, X[:, :3]], outputs=2, expected=lambda a, b: (np.concatenate([a, b], 1), [8, 3])),
    Case("concat_negative", "Concat", [X, X], {"axis": -1}, outputs=2),
    Case("concat_one_empty", "Concat", [X[:0], X], {"axis": 0}, outputs=2, expected=lambda a, b: (b, [0, 2])),
    Case("concat_new_axis", "Concat", [M, M], {"axis": 1, "add_axis": 1}, outputs=2),
    Case("concat_new_axis_nowhere", "Concat", [M, M], {"add_axis": 1}, outputs=2),
    Case("tile", "Tile", [X], {"tiles": 3, "axis": 2}, expected=lambda x: np.tile(x, (1, 1, 3, 1))),
    Case("tile_no_rows", "Tile", [X[:0]], {"tiles": 2, "axis": 0}, expected=lambda x: x),
    Case("expand", "Expand", [M[:, :1], np.array([1, 6], np.int64)], expected=lambda x, _: np.repeat(x, 6, 1)),
    Case("split_equal", "Split", [X], {"axis": 1}, outputs=4, expected=lambda x: np.split(x, 4, 1)),
    Case(
        "split_sizes",
        "Split",
        [X],
        {"axis": 2, "split": [1, 4, 2]},
        outputs=3,
        expected=lambda x: np.split(x, [1, 5], 2),
    ),
    Case("slice", "Slice", [X], {"starts": [0, 0, 1], "ends": [-1, 99, -2]}, expected=lambda x: x[:, :, 1:-1]),
    Case("slice_from_behind", "Slice", [M], {"starts": [0, -3], "ends": [99, -1]}, expected=lambda x: x[:, -2:]),
    Case("slice_all", "Slice", [M], {"starts": [0], "ends": [-1]}, expected=lambda x: x),
    Case("flatten", "Flatten", [X], expected=lambda x: x.reshape(2, -1)),
    Case("flatten_axis3", "Flatten", [X], {"axis": 3}, expected=lambda x: x.reshape(-1, 9)),
    Case("flatten_axis0", "Flatten", [M], {"axis": 0}, expected=lambda x: x.reshape(1, -1)),
    Case(
        "reshape", "Reshape", [X], {"shape": [0, -1, 63]}, outputs=2, expected=lambda x: (x.reshape(2, 8, 63), x.shape)
    ),
    Case(
        "reshape_by_blob",
        "Reshape",
        [X, np.array([-1, 9], np.int64)],
        outputs=2,
        expected=lambda x, shape: (x.reshape(shape), x.shape),
    ),
    Case("transpose", "Transpose", [X], {"axes": [0, 2, 3, 1]}, expected=lambda x: x.transpose(0, 2, 3, 1)),
    Case("transpose_all", "Transpose", [X], expected=np.transpose),
    Case("gather", "Gather", [M, np.array([4, 0, -1, 0])], expected=lambda x, places: x[places]),
    Case(
        "gather_along_axis1",
        "Gather",
        [X, np.array([[6, 0], [3, 3]], np.int32)],
        {"axis": 1},
        expected=lambda x, places: x[:, places],
    ),
    Case(
        "gather_from_behind_along_the_last_axis",
        "Gather",
        [X, np.array([-1, 8, -9])],
        {"axis": 3, "wrap_indices": 1},
        expected=lambda x, places: x[..., places],
    ),
    Case("gather_int64", "Gather", [np.arange(6).reshape(2, 3), np.array(1)], expected=lambda x, place: x[place]),
    Case("squeeze", "Squeeze", [values(1, 3, 1)], {"dims": [0, 2]}, expected=lambda x: x.reshape(3)),
    Case("expand_dims", "ExpandDims", [M], {"dims": [0, 3]}, expected=lambda x: x.reshape(1, 5, 6, 1)),
    Case("copy", "Copy", [X], expected=lambda x: x),
    Case("alias", "AliasWithName", [X], {"name": "other"}, expected=lambda x: x),
    Case("stop_gradient", "StopGradient", [X], expected=lambda x: x),
    Case("cast_to_int", "Cast", [3 * M], {"to": 2}, expected=lambda x: x.astype(np.int32)),
    Case("cast_by_name", "Cast", [np.arange(4)], {"to": "float"}, expected=lambda x: x.astype(np.float32)),
    Case("cast_to_bool", "Cast", [np.array([0, 2], np.int32)], {"to": 5}, expected=lambda x: x.astype(bool)),
]
BY_NAME = {case.name: case for case in CASES}
# Not in the Caffe2 of the torch wheels, which are built without Detectron's module.
NOT_IN_WHEEL = {"UpsampleNearest"}
UNTESTED_HERE = {
    "GivenTensorFill",
    "GivenTensorDoubleFill",
    "GivenTensorIntFill",
    "GivenTensorInt64Fill",
    "GivenTensorBoolFill",
}
ALIASES = {"Alias", "EnsureCPUOutput", "EnsureDense"}


def run_all(runtime: type[TorchRuntime] | type[Caffe2Runtime], make_nets: MakeNets) -> dict[str, list[Array]]:
    """All cases as one net."""
    inputs = {f"{case.name}/in{i}": array for case in CASES for i, array in enumerate(case.inputs)}
    outputs = {case.name: [f"{case.name}/out{i}" for i in range(case.outputs)] for case in CASES}
    lines = [
        (case.type, [f"{case.name}/in{i}" for i in range(len(case.inputs))], outputs[case.name], case.arguments)
        for case in CASES
    ]
    nets = make_nets(lines, list(inputs), [name for names in outputs.values() for name in names])
    with runtime(nets) as running:
        blobs = running.run(inputs)
    return {name: [blobs[output] for output in names] for name, names in outputs.items()}


@pytest.fixture(scope="module")
def torch_answers(make_nets: MakeNets) -> dict[str, list[Array]]:
    return run_all(TorchRuntime, make_nets)


@pytest.fixture(scope="module")
def caffe2_answers(make_nets: MakeNets) -> dict[str, list[Array]]:
    return run_all(Caffe2Runtime, make_nets)


def test_every_standard_kernel_has_a_case() -> None:
    assert {case.type for case in CASES} == set(kernels()) - NOT_IN_WHEEL - UNTESTED_HERE - ALIASES


@pytest.mark.caffe2
@pytest.mark.parametrize("name", BY_NAME)
def test_a_kernel_gives_what_genuine_caffe2_gives(
    torch_answers: dict[str, list[Array]], caffe2_answers: dict[str, list[Array]], name: str
) -> None:
    assert len(torch_answers[name]) == len(caffe2_answers[name])
    for actual, expected in zip(torch_answers[name], caffe2_answers[name], strict=True):
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=0))
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize("name", [case.name for case in CASES if case.expected])
def test_a_kernel_gives_what_numpy_gives(torch_answers: dict[str, list[Array]], name: str) -> None:
    case = BY_NAME[name]
    assert case.expected is not None
    expected = case.expected(*case.inputs)
    for actual, array in zip(torch_answers[name], expected if case.outputs > 1 else [expected], strict=True):
        np.testing.assert_allclose(actual, array, rtol=1e-4, atol=1e-6)


def test_upsample_nearest_repeats_each_pixel(make_nets: MakeNets) -> None:
    nets = make_nets([("UpsampleNearest", ["data"], ["y"], {"scale": 3})])
    np.testing.assert_array_equal(TorchRuntime(nets).run({"data": X})["y"], X.repeat(3, axis=2).repeat(3, axis=3))


@pytest.mark.caffe2
def test_upsample_nearest_is_not_in_the_wheels_caffe2(make_nets: MakeNets) -> None:
    nets = make_nets([("UpsampleNearest", ["data"], ["y"], {"scale": 3})])
    with Caffe2Runtime(nets) as runtime, pytest.raises(UnsupportedOperator, match="does not have 'UpsampleNearest'"):
        runtime.run({"data": X})


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_an_alias_is_its_input(make_nets: MakeNets, alias: str) -> None:
    nets = make_nets([(alias, ["data"], ["y"], {})])
    np.testing.assert_array_equal(TorchRuntime(nets).run({"data": X})["y"], X)


FILLS = [
    ("GivenTensorFill", "floats", [1.5, -2.0], np.float32),
    ("GivenTensorDoubleFill", "floats", [1.5, -2.0], np.float64),
    ("GivenTensorIntFill", "ints", [-(2**31), 2**31 - 1], np.int32),
    ("GivenTensorInt64Fill", "ints", [-(2**63), 2**63 - 1], np.int64),
    ("GivenTensorBoolFill", "ints", [0, 1], np.bool_),
]


def filled(type_: str, field_name: str, numbers: Sequence[float], shape: Sequence[int]) -> Nets:
    arguments = [
        caffe2_pb2.Argument(name="values", **{field_name: numbers}),
        caffe2_pb2.Argument(name="shape", ints=shape),
    ]
    operator = caffe2_pb2.OperatorDef(type=type_, output=["y"], arg=arguments)
    return Nets(caffe2_pb2.NetDef(name="net", op=[operator], external_output=["y"]), caffe2_pb2.NetDef(name="init"))


@pytest.mark.parametrize(("type_", "field_name", "numbers", "dtype"), FILLS)
def test_a_fill_gives_its_values_in_its_shape(
    type_: str, field_name: str, numbers: list[float], dtype: type[np.generic]
) -> None:
    array = TorchRuntime(filled(type_, field_name, numbers, [2, 1])).run({})["y"]
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, np.array(numbers, dtype).reshape(2, 1))


@pytest.mark.caffe2
@pytest.mark.parametrize(("type_", "field_name", "numbers", "dtype"), FILLS)
def test_genuine_caffe2_reads_the_fill_alike(
    type_: str, field_name: str, numbers: list[float], dtype: type[np.generic]
) -> None:
    nets = filled(type_, field_name, numbers, [2, 1])
    with Caffe2Runtime(nets) as runtime:
        actual, expected = TorchRuntime(nets).run({})["y"], runtime.run({})["y"]
    assert actual.dtype == expected.dtype == dtype
    np.testing.assert_array_equal(actual, expected)


REFUSED = [
    ("ResizeNearest", [X, np.array([2, np.nan], np.float32)], {}, OperatorError, "two positive numbers"),
    ("Add", [X, X.astype(np.float64)], {}, OperatorError, "two types"),
    ("Add", [X, values(3)], {"broadcast": 1}, OperatorError, "does not fit"),
    ("Sum", [X, M], {}, OperatorError, "one shape"),
    ("Conv", [X, W], {"kernels": [1, 1]}, OperatorError, "for kernels"),
    ("GroupNorm", [X, values(8), values(8)], {"group": 3}, OperatorError, "do not make 3 groups"),
    ("Softmax", [M], {"axis": 2}, OperatorError, "axis 2"),
    ("Flatten", [M], {"axis": 3}, OperatorError, "axis 3"),
    ("Slice", [M], {"starts": [4], "ends": [2]}, OperatorError, "no places"),
    ("Slice", [M], {"starts": [-7], "ends": [2]}, OperatorError, "no places from -7"),
    ("Slice", [M], {"starts": [1, 1], "ends": [3, 3]}, OperatorError, "one axis only"),
    ("Slice", [M], {"starts": [0]}, ModelFileError, "no ends"),
    ("Slice", [M], {"starts": [0] * 3, "ends": [-1] * 3}, OperatorError, "3 starts"),
    ("Squeeze", [M], {"dims": [0]}, OperatorError, "size 1"),
    ("ExpandDims", [M], {"dims": [9]}, OperatorError, "gap"),
    ("Reshape", [M], {"shape": [5, 6, 0]}, OperatorError, "not there"),
    ("Reshape", [M], {}, OperatorError, "an argument or an input"),
    ("Reshape", [M, np.array([6, 5])], {"shape": [6, 5]}, OperatorError, "an argument or an input"),
    ("Reshape", [M, np.array([6, 5], np.float32)], {}, OperatorError, "must be .* int32 or int64"),
    ("Reshape", [M, np.array([[6, 5]])], {}, OperatorError, r"the shape \[1, 2\] of"),
    # Genuine Caffe2 gives what lay in foreign memory.
    ("Reshape", [M[:0]], {"shape": [4, 3]}, OperatorError, "no numbers do not make"),
    ("Transpose", [M], {"axes": [0, 0]}, OperatorError, "no order of the 2 axes"),
    ("Gather", [M, np.array([5])], {}, OperatorError, "outside of the 5 along axis 0"),
    ("Gather", [M, np.array([-6])], {}, OperatorError, "outside of the 5 along axis 0"),
    ("Gather", [M, np.array([-1])], {"axis": 1}, OperatorError, "outside of the 6 along axis 1"),
    ("Gather", [M, np.array([1.0])], {}, OperatorError, "places of torch.float64"),
    ("Gather", [M, np.array([[1]])], {"axis": 1, "match_outer": 1}, UnsupportedOperator, "match_outer"),
    ("Clip", [np.arange(3)], {"min": 1.0}, OperatorError, "must be float32"),
    ("Mul", [np.ones(3, bool)] * 2, {}, OperatorError, "must be float32, float64"),
    ("EnsureDense", [np.array(1.0, np.float32)], {}, OperatorError, "no dense tensor"),
    ("Conv", [X, W], {"kernels": [3, 3], "legacy_pad": 1}, UnsupportedOperator, "legacy_pad"),
    ("MaxPool", [X], {"kernels": [2, 2], "dilations": [2, 2]}, UnsupportedOperator, "dilation"),
    ("Conv", [X, W], {"kernels": [3, 3], "order": "NHWC"}, UnsupportedOperator, "NHWC"),
    ("Cast", [X], {"to": 12}, UnsupportedOperator, "data type 12"),
    ("Add", [X, X], {"broadcast": 1, "axis_str": "C"}, UnsupportedOperator, "axis_str"),
]


@pytest.mark.parametrize(
    ("type_", "arrays", "arguments", "error", "message"), REFUSED, ids=[f"{line[0]}-{line[4]}" for line in REFUSED]
)
def test_what_a_kernel_refuses_is_named(
    make_nets: MakeNets,
    type_: str,
    arrays: list[Array],
    arguments: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    inputs = {f"in{i}": array for i, array in enumerate(arrays)}
    nets = make_nets([(type_, list(inputs), ["y"], arguments)], list(inputs))
    with pytest.raises(error, match=message) as failure:
        TorchRuntime(nets).run(inputs)
    assert f"{type_} giving 'y'" in str(failure.value)
