"""Operators that the torch runtime runs as one give what they give one by one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roastery.caffe2 import chain
from roastery.caffe2.chain import Chain
from roastery.caffe2.fusion import OPERATION
from roastery.caffe2.kernels import onednn
from roastery.caffe2.nets import Nets
from roastery.caffe2.operation import Operation
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.errors import OperatorError

MakeNets = Callable[..., Nets]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 5, 4)).astype(np.float32)
PARAMETERS = {
    "w": RNG.normal(size=(3, 3, 3, 3)).astype(np.float32),
    "one": RNG.normal(size=(3, 3, 1, 1)).astype(np.float32),
    "up": RNG.normal(size=(3, 3, 3, 3)).astype(np.float32),
    "b": RNG.normal(size=3).astype(np.float32),
}
SAME = {"kernels": [3, 3], "pads": [1, 1, 1, 1]}
ORDER = np.array([1, 0], np.int32)


def steps(nets: Nets, wanted: list[str]) -> list[str]:
    """Types of the operators that the nodes for these blobs begin with; those of a chain in one text."""
    found = []
    for node in TorchRuntime(nets).module(wanted).graph.nodes:
        operation = node.meta.get(OPERATION)
        if isinstance(operation, Chain):
            members = [inner.meta[OPERATION] for inner in operation.rows.graph.nodes if OPERATION in inner.meta]
            found.append(" ".join(member.bound.type for member in members))
        elif operation is not None:
            found.append(operation.bound.type)
    return found


@st.composite
def nets_of_any_wiring(draw: st.DrawFn) -> tuple[list[Any], list[str]]:
    """Operators that keep the shape of `data`, each reading blobs before it; and some blobs to fetch."""
    lines: list[Any] = []
    blobs = ["data"]
    for number in range(draw(st.integers(1, 12))):
        x, y = draw(st.sampled_from(blobs[-4:])), draw(st.sampled_from(blobs))
        name = f"blob{number}"
        bias = draw(st.sampled_from([["b"], []]))
        uneven = {"kernels": [3, 3], "pads": [2, 0, 0, 2]}
        kind = draw(
            st.sampled_from(["Conv", "Conv", "1x1", "uneven", "up", "Relu", "Relu", "Add", "Add", "Sigmoid", "Alias"])
        )
        if kind == "Conv":
            lines.append(("Conv", [x, "w", *bias], [name], SAME))
        elif kind == "1x1":
            lines.append(("Conv", [x, "one", *bias], [name], {"kernels": [1, 1]}))
        elif kind == "uneven":
            lines.append(("Conv", [x, "w", *bias], [name], uneven))
        elif kind == "up":
            lines.append(("ConvTranspose", [x, "up", *bias], [name], SAME))
        else:
            lines.append((kind, [x, y] if kind == "Add" else [x], [name], {}))
        blobs.append(name)
    wanted = draw(st.lists(st.sampled_from(blobs[1:]), min_size=1, max_size=3, unique=True))
    return lines, wanted


@pytest.mark.parametrize("slice_bytes", [1, 2**20])
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(net=nets_of_any_wiring())
def test_a_net_gives_the_same_whichever_blobs_are_fetched(
    make_nets: MakeNets, monkeypatch: pytest.MonkeyPatch, slice_bytes: int, net: Any
) -> None:
    """Where all are fetched, nothing is done together, by slices of rows or over what was there."""
    monkeypatch.setattr(chain, "_SLICE_BYTES", slice_bytes)
    lines, wanted = net
    blobs = [line[2][0] for line in lines]
    runtime = TorchRuntime(make_nets(lines, outputs=blobs, parameters=PARAMETERS))
    data = X.copy()
    one_by_one = runtime.run({"data": data})
    together = runtime.run({"data": data}, fetch=wanted)
    for name in wanted:
        scale = max(1.0, float(np.abs(one_by_one[name]).max()))
        np.testing.assert_allclose(together[name], one_by_one[name], rtol=0, atol=1e-5 * scale)
    np.testing.assert_array_equal(data, X)
    for name, array in PARAMETERS.items():
        np.testing.assert_array_equal(runtime.run({}, fetch=[name])[name], array)


RESIDUAL = [
    ("Conv", ["data", "w"], ["a"], SAME),
    ("Relu", ["a"], ["r"], {}),
    ("Conv", ["r", "w", "b"], ["c"], SAME),
    ("Add", ["r", "c"], ["s"], {}),
    ("Relu", ["s"], ["y"], {}),
]


def test_what_another_blob_is_a_view_of_is_not_written_over(make_nets: MakeNets) -> None:
    lines = [
        ("Sigmoid", ["data"], ["a"], {}),
        ("Alias", ["a"], ["view"], {}),
        ("Sigmoid", ["a"], ["s"], {}),
        ("Sub", ["view", "s"], ["y"], {}),
    ]
    once = 1 / (1 + np.exp(-X))
    found = TorchRuntime(make_nets(lines)).run({"data": X})["y"]
    np.testing.assert_allclose(found, once - 1 / (1 + np.exp(-once)), atol=1e-6)


def test_a_residual_block_is_two_steps(make_nets: MakeNets) -> None:
    nets = make_nets(RESIDUAL, parameters=PARAMETERS)
    assert steps(nets, ["y"]) == ["Conv", "Conv"]


HEAD = [
    ("Conv", ["data", "w"], ["a"], SAME),
    ("Relu", ["a"], ["r"], {}),
    ("Conv", ["r", "w", "b"], ["c"], SAME),
    ("ConvTranspose", ["c", "up"], ["d"], SAME),
    ("Relu", ["d"], ["e"], {}),
    ("Sigmoid", ["e"], ["y"], {}),
]


def test_a_head_is_a_chain(make_nets: MakeNets) -> None:
    nets = make_nets(HEAD, parameters=PARAMETERS)
    assert steps(nets, ["y"]) == ["Conv Conv ConvTranspose Sigmoid"]
    assert steps(nets, ["y", "c"]) == ["Conv Conv", "ConvTranspose Sigmoid"]
    assert (
        steps(make_nets([*HEAD, ("Relu", ["c"], ["z"], {})], outputs=["y", "z"], parameters=PARAMETERS), ["y", "z"])[0]
        == "Conv Conv"
    )


def test_what_a_chain_reads_is_let_go_after_it(make_nets: MakeNets) -> None:
    lines = [("Softmax", ["data"], ["s"], {}), ("Conv", ["s", "w"], ["c"], SAME), ("Sigmoid", ["c"], ["y"], {})]
    runtime = TorchRuntime(make_nets(lines, parameters=PARAMETERS))
    assert steps(make_nets(lines, parameters=PARAMETERS), ["y"]) == ["Softmax", "Conv Sigmoid"]
    assert "self.Conv_1_to_Sigmoid_2(blob_s, blob_w);  blob_s = blob_w = None\n" in runtime.code
    (rows,) = (module.rows for module in runtime.module().modules() if isinstance(module, Chain))
    assert "self.Sigmoid_2(blob_c);  blob_c = None\n" in rows.code


def test_what_a_chain_takes_by_rows_is_not_read_whole_by_it(make_nets: MakeNets, monkeypatch: Any) -> None:
    """The slopes of a PRelu are the same for all rows, so that rows of them would be others."""
    monkeypatch.setattr(chain, "_SLICE_BYTES", 1)
    lines = [("Relu", ["data"], ["r"], {}), ("Sigmoid", ["r"], ["s"], {}), ("PRelu", ["s", "r"], ["y"], {})]
    data = np.array([[-1.0, 2.0], [3.0, -4.0]], np.float32)
    with pytest.raises(OperatorError, match="4 slopes"):
        TorchRuntime(make_nets(lines)).run({"data": data})


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_a_chain_is_run_in_slices_of_rows(make_nets: MakeNets, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    data = RNG.normal(size=(rows, 3, 5, 4)).astype(np.float32)
    runtime = TorchRuntime(make_nets(HEAD, parameters=PARAMETERS))
    expected = runtime.run({"data": data})["y"]
    seen: list[int] = []
    run_one = Operation.forward

    def watched(operation: Operation, *inputs: Any) -> Any:
        seen.append(len(inputs[0]))
        return run_one(operation, *inputs)

    monkeypatch.setattr(Operation, "forward", watched)
    monkeypatch.setattr(chain, "_SLICE_BYTES", 3 * data[:1].nbytes or 1)
    for _ in range(2):
        found = runtime.run({"data": data}, ["y", "data"])
        np.testing.assert_allclose(found["y"], expected, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(found["data"], data)
    each = {0: [0], 1: [1], 7: [3, 3, 1]}[rows]
    assert seen == [count for count in each for _ in range(4)] * 2


def test_what_is_fetched_is_made(make_nets: MakeNets) -> None:
    nets = make_nets(RESIDUAL, outputs=["y", "s"], parameters=PARAMETERS)
    assert steps(nets, ["y", "s"]) == ["Conv", "Conv", "Relu"]


def test_two_convolutions_are_not_both_done_with_the_sum_of_them(make_nets: MakeNets) -> None:
    lines = [
        ("Conv", ["data", "w"], ["a"], SAME),
        ("Conv", ["data", "one"], ["c"], {"kernels": [1, 1]}),
        ("Add", ["a", "c"], ["y"], {}),
    ]
    assert steps(make_nets(lines, parameters=PARAMETERS), ["y"]) == ["Conv", "Conv"]


def test_an_operator_with_arguments_is_done_alone(make_nets: MakeNets) -> None:
    lines = [("Conv", ["data", "w"], ["c"], SAME), ("Add", ["c", "b"], ["y"], {"broadcast": 1, "axis": 1})]
    assert steps(make_nets(lines, parameters=PARAMETERS), ["y"]) == ["Conv", "Add"]


def test_a_sum_of_shapes_that_differ_is_broadcast_as_it_is_alone(make_nets: MakeNets) -> None:
    lines = [("Conv", ["data", "w"], ["c"], SAME), ("Add", ["c", "row"], ["s"], {}), ("Relu", ["s"], ["y"], {})]
    nets = make_nets(lines, inputs=("data", "row"), outputs=["y", "s"], parameters=PARAMETERS)
    row = RNG.normal(size=(1, 3, 1, 1)).astype(np.float32)
    runtime = TorchRuntime(nets)
    inputs = {"data": X, "row": row}
    np.testing.assert_allclose(runtime.run(inputs, ["y"])["y"], runtime.run(inputs)["s"].clip(0), atol=1e-5)
    with pytest.raises(OperatorError, match="inputs of two types"):
        runtime.run({"data": X, "row": row.astype(np.float64)}, ["y"])


def test_a_sum_of_two_types_is_refused_as_it_is_alone(make_nets: MakeNets) -> None:
    lines = [("Conv", ["data", "w"], ["c"], SAME), ("Add", ["c", "other"], ["y"], {})]
    runtime = TorchRuntime(make_nets(lines, inputs=("data", "other"), outputs=["y", "c"], parameters=PARAMETERS))
    for fetch in (["y"], ["y", "c"]):
        with pytest.raises(OperatorError, match="inputs of two types"):
            runtime.run({"data": X, "other": X.astype(np.float64)}, fetch)


@pytest.mark.parametrize("order", [[1, 0, 3, 2], [3, 0, 1, 2], [0, 0, 3, 3]])
def test_rows_are_put_in_order_as_they_are_one_by_one(make_nets: MakeNets, order: list[int]) -> None:
    lines = [("Concat", ["a", "b"], ["c", "sizes"], {"axis": 0}), ("BatchPermutation", ["c", "i"], ["y"], {})]
    nets = make_nets(lines, inputs=("a", "b", "i"), outputs=["y"])
    assert steps(nets, ["y"]) == ["Concat"]
    inputs = {"a": X[:1], "b": np.concatenate([X, X[:1] * 2]), "i": np.array(order, np.int32)}
    expected = np.concatenate([inputs["a"], inputs["b"]])[order]
    np.testing.assert_array_equal(TorchRuntime(nets).run(inputs)["y"], expected)


POOLING = {"pooled_h": 2, "pooled_w": 3, "sampling_ratio": 0, "spatial_scale": 1.0}
LEVELS = [
    ("RoIAlign", ["x", "some"], ["p"], POOLING),
    ("RoIAlign", ["z", "others"], ["q"], POOLING),
    ("Concat", ["p", "q"], ["c", "sizes"], {"axis": 0}),
    ("BatchPermutation", ["c", "i"], ["y"], {}),
]
ROIS = np.array([[0, 0, 3, 3], [1, 1, 3, 4], [0, 2, 2, 4], [1, 0, 2, 2]], np.float32)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1], [3, 3, 0, 0]])
@pytest.mark.parametrize("first", [0, 1, 4])
def test_pooled_features_of_levels_are_written_to_where_they_go(
    make_nets: MakeNets, order: list[int], first: int
) -> None:
    inputs = {"x": X[:1], "z": X[1:] * 2, "some": ROIS[:first], "others": ROIS[first:], "i": np.array(order, np.int32)}
    nets = make_nets(LEVELS, inputs=tuple(inputs), outputs=["y", "c"])
    assert steps(nets, ["y"]) == ["Concat"]
    assert steps(nets, ["y", "c"]) == ["RoIAlign", "RoIAlign", "Concat", "BatchPermutation"]
    runtime = TorchRuntime(nets)
    np.testing.assert_array_equal(runtime.run(inputs, ["y"])["y"], runtime.run(inputs)["c"][order])


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 1, 2, 3, 4], [0, 1, 2, 4], [0, 1, 2, -1]])
def test_a_bad_order_of_pooled_features_is_refused(make_nets: MakeNets, order: list[int]) -> None:
    inputs = {"x": X[:1], "z": X[1:], "some": ROIS[:2], "others": ROIS[2:], "i": np.array(order, np.int32)}
    with pytest.raises(OperatorError, match="BatchPermutation: "):
        TorchRuntime(make_nets(LEVELS, inputs=tuple(inputs))).run(inputs)


def test_levels_of_other_channels_are_refused(make_nets: MakeNets) -> None:
    inputs = {"x": X[:1], "z": X[1:, :2], "some": ROIS[:2], "others": ROIS[2:], "i": np.arange(4, dtype=np.int32)}
    with pytest.raises(OperatorError, match=r"RoIAlign: features of \(2, 2, 3\) do not go into \(4, 3, 2, 3\)"):
        TorchRuntime(make_nets(LEVELS, inputs=tuple(inputs))).run(inputs)


def test_pooled_features_that_are_fetched_are_made(make_nets: MakeNets) -> None:
    inputs = {"x": X[:1], "z": X[1:], "some": ROIS[:2], "others": ROIS[2:], "i": np.array([2, 3, 0, 1], np.int32)}
    found = TorchRuntime(make_nets(LEVELS, inputs=tuple(inputs))).run(inputs, ["y", "p"])
    np.testing.assert_array_equal(found["y"][2:], found["p"])


def test_pooled_features_that_are_read_twice_are_made(make_nets: MakeNets) -> None:
    lines = [*LEVELS, ("Relu", ["p"], ["r"], {})]
    inputs = {"x": X[:1], "z": X[1:], "some": ROIS[:2], "others": ROIS[2:], "i": np.arange(4, dtype=np.int32)}
    nets = make_nets(lines, inputs=tuple(inputs), outputs=["y", "r"])
    found = TorchRuntime(nets).run(inputs)
    np.testing.assert_array_equal(found["y"][:2].clip(0), found["r"])


def test_rows_along_another_axis_are_put_in_order_as_they_are_one_by_one(make_nets: MakeNets) -> None:
    lines = [("Concat", ["a", "a"], ["c", "sizes"], {}), ("BatchPermutation", ["c", "i"], ["y"], {})]
    nets = make_nets(lines, inputs=("a", "i"), outputs=["y"])
    expected = np.concatenate([X, X], 1)[ORDER]
    np.testing.assert_array_equal(TorchRuntime(nets).run({"a": X, "i": ORDER})["y"], expected)


def test_what_is_concatenated_may_be_the_order_too(make_nets: MakeNets) -> None:
    lines = [("Concat", ["i", "j"], ["c", "sizes"], {"axis": 0}), ("BatchPermutation", ["x", "c"], ["y"], {})]
    nets = make_nets(lines, inputs=("x", "i", "j"), outputs=["y"])
    inputs = {"x": X, "i": ORDER[:1], "j": ORDER[1:]}
    np.testing.assert_array_equal(TorchRuntime(nets).run(inputs)["y"], X[ORDER])


@pytest.mark.parametrize("order", [[0, 2], [0, -1], [0, 1, 2]])
def test_a_bad_order_is_refused_as_it_is_alone(make_nets: MakeNets, order: list[int]) -> None:
    lines = [("Concat", ["a", "b"], ["c", "sizes"], {"axis": 0}), ("BatchPermutation", ["c", "i"], ["y"], {})]
    nets = make_nets(lines, inputs=("a", "b", "i"), outputs=["y"])
    with pytest.raises(OperatorError, match="BatchPermutation: "):
        TorchRuntime(nets).run({"a": X[:1], "b": X[1:], "i": np.array(order, np.int32)})


def test_without_onednn_a_net_gives_the_same(make_nets: MakeNets, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [*RESIDUAL[:-1], ("Relu", ["s"], ["q"], {}), ("ConvTranspose", ["q", "up"], ["t"], SAME)]
    nets = make_nets([*lines, ("Relu", ["t"], ["y"], {})], parameters=PARAMETERS)
    with_it = TorchRuntime(nets).run({"data": X})["y"]
    monkeypatch.setattr(onednn, "_AVAILABLE", False)
    without = TorchRuntime(nets).run({"data": X})["y"]
    np.testing.assert_allclose(without, with_it, rtol=1e-4, atol=1e-4)


def test_a_batch_of_none_goes_through(make_nets: MakeNets) -> None:
    lines = [*RESIDUAL[:-1], ("Relu", ["s"], ["q"], {}), ("ConvTranspose", ["q", "up"], ["t"], SAME)]
    nets = make_nets([*lines, ("Relu", ["t"], ["y"], {})], parameters=PARAMETERS)
    assert TorchRuntime(nets).run({"data": X[:0]})["y"].shape == (0, 3, 5, 4)
