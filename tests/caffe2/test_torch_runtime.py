"""How the torch runtime loads, runs and refuses nets; what each operator computes is in test_kernels.py."""

import gc
import math
import re
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.kernels import fills
from roastery.caffe2.nets import Nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.errors import ConfigError, ModelFileError, OperatorError, RuntimeFailed, UnsupportedOperator

MakeNets = Callable[..., Nets]
X = np.random.default_rng(0).normal(size=(1, 2, 4, 5)).astype(np.float32)
ONE = {"kernels": [1, 1]}
WEIGHT = np.array([[1, -1], [2, 3], [-4, 0.5]], np.float32).reshape(3, 2, 1, 1)


def test_fetch_gives_intermediate_blobs_and_parameters_by_name(make_nets: MakeNets) -> None:
    lines = [("Conv", ["data", "w"], ["c"], ONE), ("Relu", ["c"], ["r"], {}), ("Sigmoid", ["r"], ["y"], {})]
    runtime = TorchRuntime(make_nets(lines, parameters={"w": WEIGHT}))
    convolved = np.einsum("oi,nihw->nohw", WEIGHT[:, :, 0, 0], X)
    blobs = runtime.run({"data": X}, fetch=["c", "r", "w", "data"])
    assert list(blobs) == ["c", "r", "w", "data"]
    np.testing.assert_allclose(blobs["c"], convolved, atol=1e-5)
    np.testing.assert_allclose(blobs["r"], convolved.clip(0), atol=1e-5)
    np.testing.assert_array_equal(blobs["w"], WEIGHT)
    np.testing.assert_array_equal(blobs["data"], X)
    assert list(runtime.run({"data": X})) == ["y"]


def test_nothing_is_written_over_that_is_read_again(make_nets: MakeNets) -> None:
    """The Relu and the Add may work in place only where nobody else reads what they write over."""
    lines = [
        ("Conv", ["data", "w"], ["c"], ONE),
        ("Flatten", ["c"], ["flat"], {}),
        ("Relu", ["c"], ["r"], {}),
        ("Copy", ["r"], ["k"], {}),
        ("Relu", ["data"], ["positive"], {}),
        ("Flatten", ["k"], ["view"], {}),
        ("Sigmoid", ["view"], ["s"], {}),
        ("Add", ["k", "k"], ["twice"], {}),
        ("Relu", ["w"], ["w_positive"], {}),
    ]
    outputs = ["c", "flat", "r", "k", "positive", "view", "s", "twice", "w_positive"]
    runtime = TorchRuntime(make_nets(lines, outputs=outputs, parameters={"w": WEIGHT}))
    data = X.copy()
    whole = runtime.run({"data": data})
    for name in outputs:
        np.testing.assert_array_equal(runtime.run({"data": data}, fetch=[name])[name], whole[name])
    np.testing.assert_array_equal(data, X)
    np.testing.assert_array_equal(runtime.run({}, fetch=["w"])["w"], WEIGHT)


def test_writing_to_an_output_changes_neither_parameters_nor_inputs(make_nets: MakeNets) -> None:
    lines = [("Flatten", ["w"], ["y"], {}), ("AliasWithName", ["data"], ["z"], {})]
    runtime = TorchRuntime(make_nets(lines, outputs=["y", "z", "w"], parameters={"w": WEIGHT}))
    data = X.copy()
    for array in runtime.run({"data": data}).values():
        array[:] = 0
    np.testing.assert_array_equal(data, X)
    np.testing.assert_array_equal(runtime.run({"data": data})["w"], WEIGHT)


def test_writing_to_an_output_changes_no_other(make_nets: MakeNets) -> None:
    lines = [("Sigmoid", ["data"], ["y"], {}), ("Alias", ["y"], ["z"], {}), ("Flatten", ["z"], ["flat"], {})]
    runtime = TorchRuntime(make_nets(lines, outputs=["y", "z", "flat"]))
    for name in ("y", "z", "flat"):
        blobs = runtime.run({"data": X})
        blobs[name][:] = 7
        for other in {"y", "z", "flat"} - {name}:
            np.testing.assert_allclose(blobs[other].ravel(), (1 / (1 + np.exp(-X))).ravel(), rtol=1e-5)


def test_a_blob_written_twice_has_its_last_value_at_the_end(make_nets: MakeNets) -> None:
    lines = [
        ("Relu", ["data"], ["data"], {}),
        ("Add", ["data", "data"], ["y"], {}),
        ("Sigmoid", ["data"], ["data"], {}),
    ]
    blobs = TorchRuntime(make_nets(lines, outputs=["y", "data"])).run({"data": X})
    np.testing.assert_allclose(blobs["y"], 2 * X.clip(0))
    np.testing.assert_allclose(blobs["data"], 1 / (1 + np.exp(-X.clip(0))), rtol=1e-5)


def test_only_what_the_fetched_blobs_need_is_run(make_nets: MakeNets) -> None:
    lines = [("Relu", ["data"], ["r"], {}), ("Add", ["r", "never_given"], ["y"], {})]
    runtime = TorchRuntime(make_nets(lines, inputs=["data", "never_given"]))
    np.testing.assert_array_equal(runtime.run({"data": X}, fetch=["r"])["r"], X.clip(0))
    with pytest.raises(ModelFileError, match=r"Add giving 'y' needs blob 'never_given', which neither model_init\.pb"):
        runtime.run({"data": X})


def test_an_intermediate_blob_is_let_go_after_its_last_use(
    make_nets: MakeNets, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref[torch.Tensor]] = []
    counts: list[int] = []
    original = torch.sigmoid

    def counted(x: torch.Tensor) -> torch.Tensor:
        counts.append(sum(reference() is not None for reference in alive))
        y = original(x)
        alive.append(weakref.ref(y))
        return y

    monkeypatch.setattr(torch, "sigmoid", counted)
    # Split is not fresh, so that no Sigmoid works in place.
    lines: list[Any] = []
    for i in range(10):
        lines += [("Split", [f"b{i}"], [f"s{i}"], {}), ("Sigmoid", [f"s{i}"], [f"b{i + 1}"], {})]
    runtime = TorchRuntime(make_nets(lines, inputs=["b0"], outputs=["b10"]))
    gc.disable()
    try:
        runtime.run({"b0": X})
    finally:
        gc.enable()
    assert len(counts) == 10
    assert max(counts) <= 1


def test_a_parameter_is_held_once(make_nets: MakeNets) -> None:
    weight = np.ones((31, 17), np.float32)
    lines = [("FC", ["data", "w", "b"], ["y"], {})]
    runtime = TorchRuntime(make_nets(lines, parameters={"w": weight, "b": weight[:, 0]}))
    runtime.run({"data": weight})
    held = [item for item in gc.get_objects() if type(item) is torch.Tensor and item.shape == weight.shape]
    assert len(held) == 1


def test_no_run_records_gradients(make_nets: MakeNets, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[bool] = []
    original = torch.softmax
    monkeypatch.setattr(
        torch, "softmax", lambda *a, **k: (modes.append(torch.is_inference_mode_enabled()), original(*a, **k))[1]
    )
    TorchRuntime(make_nets([("Softmax", ["data"], ["y"], {})])).run({"data": X})
    assert modes == [True]


def test_runs_from_several_threads_do_not_disturb_each_other(make_nets: MakeNets) -> None:
    lines = [("Conv", ["data", "w"], ["c"], ONE), ("Relu", ["c"], ["r"], {}), ("Add", ["r", "r"], ["y"], {})]
    runtime = TorchRuntime(make_nets(lines, parameters={"w": WEIGHT}))
    expected = {k: runtime.run({"data": k * X})["y"] for k in range(8)}
    found: dict[int, list[NDArray[Any]]] = {k: [] for k in range(8)}

    def work(k: int) -> None:
        for _ in range(20):
            found[k].append(runtime.run({"data": k * X})["y"])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, arrays in found.items():
        assert len(arrays) == 20
        for array in arrays:
            np.testing.assert_array_equal(array, expected[k])


def test_an_input_of_any_layout_is_taken(make_nets: MakeNets) -> None:
    runtime = TorchRuntime(make_nets([("Relu", ["data"], ["y"], {})]))
    turned = X[:, :, ::-1, ::-1].transpose(0, 1, 3, 2)
    locked = X.copy()
    locked.flags.writeable = False
    np.testing.assert_array_equal(runtime.run({"data": turned})["y"], turned.clip(0))
    np.testing.assert_array_equal(runtime.run({"data": locked})["y"], X.clip(0))


@pytest.mark.parametrize(
    ("function", "expected"),
    [("Add", [6.0, 0.0]), ("Sub", [4.0, -2.0]), ("Mul", [5.0, -1.0]), ("Div", [5.0, -1.0])],
)
@pytest.mark.parametrize("runtime", [TorchRuntime, pytest.param(Caffe2Runtime, marks=pytest.mark.caffe2)])
def test_a_parameter_without_axes_is_one_number_for_all(
    make_nets: MakeNets, runtime: type[TorchRuntime] | type[Caffe2Runtime], function: str, expected: list[float]
) -> None:
    """As a traced module's constants are: a GivenTensorFill whose shape is empty."""
    lines = [(function, ["data", "one"], ["y"], {}), ("Add", ["one", "one"], ["z"], {})]
    nets = make_nets(lines, outputs=["y", "z"], parameters={"one": np.array(1, np.float32)})
    with runtime(nets) as running:
        blobs = running.run({"data": np.array([5, -1], np.float32)})
    assert blobs["y"].tolist() == expected
    assert (blobs["z"].shape, blobs["z"].tolist()) == ((), 2.0)


def test_a_number_without_axes_is_taken_and_given_as_one(make_nets: MakeNets) -> None:
    runtime = TorchRuntime(make_nets([("Relu", ["data"], ["r"], {}), ("AliasWithName", ["r"], ["y"], {})]))
    for data in (np.array(-2.5, np.float32), np.float32(-2.5)):
        blobs = runtime.run({"data": data}, fetch=["data", "r", "y"])
        assert {name: (array.shape, float(array)) for name, array in blobs.items()} == {
            "data": ((), -2.5),
            "r": ((), 0.0),
            "y": ((), 0.0),
        }


def test_all_unknown_operators_are_named_at_once(make_nets: MakeNets) -> None:
    lines = [("DeformConv", ["data"], ["a"], {}), ("Relu", ["a"], ["b"], {}), ("Nonsense", ["b"], ["y"], {})]
    with pytest.raises(
        UnsupportedOperator, match=r"model\.pb: the torch runtime does not have 'DeformConv', 'Nonsense';"
    ):
        TorchRuntime(make_nets(lines))


def test_an_unknown_fill_is_named_with_its_file() -> None:
    init = caffe2_pb2.NetDef(op=[caffe2_pb2.OperatorDef(type="XavierFill", output=["w"])])
    with pytest.raises(UnsupportedOperator, match=r"model_init\.pb: .*'XavierFill'"):
        TorchRuntime(Nets(caffe2_pb2.NetDef(), init))


@pytest.mark.parametrize(
    ("lines", "outputs", "message"),
    [
        ([("Relu", ["ghost"], ["y"], {})], ["y"], "Relu giving 'y' reads blob 'ghost', which is neither"),
        (
            [("Relu", ["b"], ["a"], {}), ("Relu", ["a"], ["b"], {})],
            ["b"],
            "Relu giving 'a' reads blob 'b', which only Relu giving 'b' writes, later",
        ),
        ([("Relu", ["y"], ["y"], {})], ["y"], "reads blob 'y', which only Relu giving 'y' writes"),
        ([("Relu", ["data"], ["y"], {})], ["z"], "nothing writes the net's output 'z'"),
        ([("Relu", ["data", "data"], ["y"], {})], ["y"], "has 2 inputs where it takes 1"),
        ([("Relu", ["data"], ["y", "z"], {})], ["y"], "has 2 outputs where it takes 1"),
        ([("Conv", ["data"], ["y"], ONE)], ["y"], "has 1 inputs where it takes 2 to 3"),
        ([("Conv", ["data", "data"], ["y"], {"kernels": 3})], ["y"], "'kernels' holds i where 'ints'"),
        ([("Conv", ["data", "data"], ["y"], {"kernels": [3]})], ["y"], "are not two"),
        ([("Conv", ["data", "data"], ["y"], {})], ["y"], "make no window"),
        ([("Conv", ["data", "data"], ["y"], {**ONE, "strides": [0, 1]})], ["y"], "make no window"),
        ([("Conv", ["data", "data"], ["y"], {**ONE, "pads": [1, 1]})], ["y"], "are not four"),
        ([("MaxPool", ["data"], ["y"], {"kernels": [2, 2], "pads": [2, 2, 2, 2]})], ["y"], "nothing in it"),
        ([("ResizeNearest", ["data"], ["y"], {"height_scale": -1.0})], ["y"], "not positive"),
        ([("PadImage", ["data"], ["y"], {"mode": "wrap"})], ["y"], "'wrap' is none of"),
        ([("BoxWithNMSLimit", ["data", "data"], ["y"], {"nms": 1})], ["y"], "'nms' holds i where 'f'"),
        ([("DistributeFpnProposals", ["data"], [f"o{i}" for i in range(7)], {})], ["o0"], "has 7 outputs where"),
        ([("Slice", ["data"], ["y"], {"starts": [1], "ends": [1, 2]})], ["y"], "1 starts and 2 ends"),
        ([("Split", ["data"], ["y", "z"], {"split": [1]})], ["y"], "1 sizes for 2 outputs"),
    ],
)
def test_a_bad_net_is_refused_when_it_is_loaded(
    make_nets: MakeNets, lines: list[Any], outputs: list[str], message: str
) -> None:
    with pytest.raises(ModelFileError, match=message) as failure:
        TorchRuntime(make_nets(lines, outputs=outputs))
    assert str(failure.value).startswith("model.pb: ")


@pytest.mark.parametrize(
    ("shape", "floats", "message"),
    [([2, 2], [1.0], "1 values for the shape"), ([-1], [], "negative"), ([1 << 40, 1 << 40], [1.0], "1 values for")],
)
def test_a_bad_fill_is_refused_when_it_is_loaded(shape: list[int], floats: list[float], message: str) -> None:
    values = [caffe2_pb2.Argument(name="shape", ints=shape), caffe2_pb2.Argument(name="values", floats=floats)]
    fill = caffe2_pb2.OperatorDef(type="GivenTensorFill", output=["w"], arg=values)
    with pytest.raises(ModelFileError, match=f"GivenTensorFill giving 'w'.*{message}"):
        TorchRuntime(Nets(caffe2_pb2.NetDef(), caffe2_pb2.NetDef(op=[fill])))


def test_an_int32_fill_with_a_value_out_of_range_is_refused() -> None:
    values = [caffe2_pb2.Argument(name="shape", ints=[1]), caffe2_pb2.Argument(name="values", ints=[2**31])]
    fill = caffe2_pb2.OperatorDef(type="GivenTensorIntFill", output=["w"], arg=values)
    with pytest.raises(ModelFileError, match="does not fit into int32"):
        TorchRuntime(Nets(caffe2_pb2.NetDef(), caffe2_pb2.NetDef(op=[fill])))


def test_a_fetched_blob_that_is_not_there_is_named(make_nets: MakeNets) -> None:
    with pytest.raises(ModelFileError, match=r"model\.pb has no blob 'ghost'"):
        TorchRuntime(make_nets([("Relu", ["data"], ["y"], {})])).run({"data": X}, fetch=["ghost"])


def test_an_operator_that_fails_is_named_with_its_output_and_shapes(make_nets: MakeNets) -> None:
    runtime = TorchRuntime(make_nets([("Conv", ["data", "w"], ["y"], ONE)], parameters={"w": WEIGHT}))
    with pytest.raises(
        RuntimeFailed, match=r"Conv giving 'y': .*; inputs float32 \[1, 5, 4, 4\], float32 \[3, 2, 1, 1\]"
    ):
        runtime.run({"data": np.zeros((1, 5, 4, 4), np.float32)})


def test_a_detection_operator_that_refuses_is_named_likewise(make_nets: MakeNets) -> None:
    runtime = TorchRuntime(make_nets([("BatchPermutation", ["data", "i"], ["y"], {})], inputs=["data", "i"]))
    with pytest.raises(OperatorError, match=r"BatchPermutation giving 'y': .*; inputs float32 \[2, 1\], int32 \[2\]"):
        runtime.run({"data": np.zeros((2, 1), np.float32), "i": np.array([0, 9], np.int32)})


def test_an_input_that_is_not_numbers_is_named(make_nets: MakeNets) -> None:
    runtime = TorchRuntime(make_nets([("Relu", ["data"], ["y"], {})]))
    with pytest.raises(RuntimeFailed, match="input 'data'"):
        runtime.run({"data": np.array(["text"])})


@pytest.mark.parametrize(
    "argument",
    [
        caffe2_pb2.Argument(name="values", floats=[0.5, -1.0, np.inf]),
        caffe2_pb2.Argument(floats=np.arange(100000, dtype=np.float32)),
        caffe2_pb2.Argument(name="n" * 300, f=1.0, i=-1, s=b"s", floats=[2.0], ints=[3]),
        caffe2_pb2.Argument(name="no floats", ints=[1]),
    ],
    ids=["short", "long", "among others", "none"],
)
def test_packed_floats_are_found_in_a_message(argument: caffe2_pb2.Argument) -> None:
    np.testing.assert_array_equal(fills.packed_floats(argument), np.array(argument.floats, np.float32))


def test_an_init_net_that_computes_is_refused_before_it_fills_the_memory(make_nets: MakeNets) -> None:
    nets = make_nets([("Relu", ["data"], ["y"], {})], parameters={"v0": np.zeros(8, np.float32)})
    for n in range(40):
        nets.init_net.op.add(type="Concat", input=[f"v{n}"] * 8, output=[f"v{n + 1}", f"s{n}"])
    with pytest.raises(UnsupportedOperator, match="only fills parameters with it, and 'Concat' is no fill"):
        TorchRuntime(nets)


@pytest.mark.parametrize("shape", [[0, 2**62], [1] * 90])
def test_a_fill_of_a_shape_that_no_tensor_has_is_refused(make_nets: MakeNets, shape: list[int]) -> None:
    nets = make_nets([("Relu", ["data"], ["y"], {})], parameters={"w": np.zeros(math.prod(shape), np.float32)})
    nets.init_net.op[0].arg[0].CopyFrom(caffe2_pb2.Argument(name="shape", ints=shape))
    with pytest.raises(ModelFileError, match="no tensor has the shape"):
        TorchRuntime(nets)


def test_a_group_norm_behind_a_convolution_is_exact_where_the_map_is_even(make_nets: MakeNets) -> None:
    # Convolutions give channels last, of which PyTorch's own GroupNorm takes the variance from sums of squares.
    generator = np.random.default_rng(0)
    data = (50 + generator.normal(size=(1, 64, 25, 32))).astype(np.float32)
    weight = np.eye(64, dtype=np.float32).reshape(64, 64, 1, 1)
    parameters = {"w": weight, "g": np.ones(64, np.float32), "b": np.zeros(64, np.float32)}
    lines = [("Conv", ["data", "w"], ["c"], ONE), ("GroupNorm", ["c", "g", "b"], ["y"], {"group": 32})]
    y = TorchRuntime(make_nets(lines, parameters=parameters)).run({"data": data})["y"]
    groups = data.astype(np.float64).reshape(1, 32, -1)
    centred = groups - groups.mean(axis=2, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=2, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, expected.reshape(data.shape), atol=1e-4)


HOSTILE = [
    "self",
    "torch",
    "None",
    "x; raise SystemExit('run')",
    "x\nimport os; os._exit(7)\n",
    '"""\nraise SystemExit',
    "__import__('os')._exit(7)",
    "*args",
    "a=1",
    "a.b",
    "",
    "blob_x",
    "blob_x_1",
    "9",
    "é" * 300,
    "a" * 5000,
    "getattr",
]


def test_nothing_that_stands_in_a_net_becomes_code(make_nets: MakeNets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blobs and modules named so that their text would run, or hide what the code needs; each keeps its own value."""
    monkeypatch.setenv("FX_GRAPH_SHOW_META", "1")
    lines: list[Any] = [("Add", [name, name + "!"], [name + "?"], {}) for name in HOSTILE]
    lines += [("Split", [name + "?"], [name + "(", name + ")"], {"axis": 0}) for name in HOSTILE]
    outputs = [name + end for name in HOSTILE for end in ("(", ")")]
    parameters = {name + "!": np.full((2, 1), place, np.float32) for place, name in enumerate(HOSTILE)}
    nets = make_nets(lines, inputs=HOSTILE, outputs=outputs, parameters=parameters)
    for operator, name in zip(nets.predict_net.op, HOSTILE * 2, strict=True):
        operator.name = name
    runtime = TorchRuntime(nets)
    inputs = {name: np.array([[100 * place], [-place]], np.float32) for place, name in enumerate(HOSTILE)}
    found = runtime.run(inputs)
    for place, name in enumerate(HOSTILE):
        np.testing.assert_array_equal(found[name + "("], [[101 * place]])
        np.testing.assert_array_equal(found[name + ")"], [[0]])
    words = set(re.findall(r"[^\W\d]\w*", re.sub(r'""".*?"""', "", runtime.code, flags=re.DOTALL)))
    ours = r"blob_\w*|(Add|Split)_\d+(_outputs)?|parameter_\d+|def|forward|self|return|None"
    assert [word for word in words if not re.fullmatch(ours, word)] == []
    assert runtime.code.isascii()


def test_the_code_names_blobs_and_operators_and_says_what_is_let_go(make_nets: MakeNets) -> None:
    lines = [("Conv", ["data", "w"], ["c"], ONE), ("Relu", ["c"], ["r"], {}), ("Softmax", ["r"], ["y"], {})]
    nets = make_nets(lines, parameters={"w": WEIGHT})
    nets.predict_net.op[2].name = "head.softmax"
    runtime = TorchRuntime(nets)
    assert [line.strip() for line in runtime.code.strip().splitlines()] == [
        "def forward(self, blob_data):",
        "blob_w = self.parameter_1",
        "blob_r = self.Conv_0_Relu(blob_data, blob_w);  blob_data = blob_w = None",
        "blob_y = self.Softmax_2(blob_r);  blob_r = None",
        "return (blob_y,)",
    ]
    assert [node.meta.get("module") for node in runtime.graph.nodes] == [None, None, "", "head.softmax", None]


def test_a_net_is_compiled_once_for_the_blobs_that_are_asked_for(make_nets: MakeNets) -> None:
    runtime = TorchRuntime(make_nets([("Relu", ["data"], ["r"], {}), ("Sigmoid", ["r"], ["y"], {})]))
    runtime.run({"data": X})
    module = runtime.module()
    runtime.run({"data": X}, fetch=["r"])
    runtime.run({"data": X})
    assert runtime.module() is module


def test_a_parameter_that_is_given_is_taken_for_that_run(make_nets: MakeNets) -> None:
    runtime = TorchRuntime(make_nets([("Add", ["data", "w"], ["y"], {})], parameters={"w": WEIGHT}))
    np.testing.assert_array_equal(runtime.run({"data": WEIGHT, "w": 3 * WEIGHT})["y"], 4 * WEIGHT)
    np.testing.assert_array_equal(runtime.run({"data": WEIGHT})["y"], 2 * WEIGHT)


def test_a_run_takes_the_threads_that_it_was_told_and_puts_the_usual_back(
    make_nets: MakeNets, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    original = torch.softmax
    monkeypatch.setattr(torch, "softmax", lambda *a, **k: (seen.append(torch.get_num_threads()), original(*a, **k))[1])
    nets = make_nets([("Softmax", ["data"], ["y"], {})])
    usual = torch.get_num_threads()
    for count in (2, 1, None, 3):
        TorchRuntime(nets, threads=count).run({"data": X})
        assert torch.get_num_threads() == usual
    assert seen == [2, 1, usual, 3]


def test_the_usual_threads_are_put_back_after_a_run_that_fails(make_nets: MakeNets) -> None:
    usual = torch.get_num_threads()
    runtime = TorchRuntime(make_nets([("Flatten", ["data"], ["y"], {"axis": 9})]), threads=usual + 1)
    with pytest.raises(OperatorError):
        runtime.run({"data": X})
    assert torch.get_num_threads() == usual


def test_runs_that_overlap_take_their_own_threads_and_leave_the_usual(
    make_nets: MakeNets, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = torch.get_num_threads()
    both = threading.Barrier(2)
    seen: dict[int, int] = {}
    original = torch.softmax

    def watched(x: torch.Tensor, **how: Any) -> torch.Tensor:
        both.wait(60)
        seen[int(x.numel())] = torch.get_num_threads()
        both.wait(60)
        return original(x, **how)

    monkeypatch.setattr(torch, "softmax", watched)
    nets = make_nets([("Softmax", ["data"], ["y"], {})])
    after: list[int] = []

    def work(count: int) -> None:
        TorchRuntime(nets, threads=count).run({"data": np.zeros((1, count), np.float32)})
        after.append(torch.get_num_threads())

    workers = [threading.Thread(target=work, args=(count,)) for count in (usual + 1, usual + 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    late: list[int] = []
    newcomer = threading.Thread(target=lambda: late.append(torch.get_num_threads()))
    newcomer.start()
    newcomer.join()
    assert seen == {usual + 1: usual + 1, usual + 2: usual + 2}
    assert after == [usual, usual]
    assert late == [usual]


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_at_all_are_refused(make_nets: MakeNets, threads: int) -> None:
    with pytest.raises(ConfigError, match=rf"^threads is {threads}, and a run takes 1 or more"):
        TorchRuntime(make_nets([("Relu", ["data"], ["y"], {})]), threads=threads)
