"""ONNX Runtime's refusals are ours: of the model, of the inputs, of an operator; and it may not be there."""

import sys

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper

from roastery.errors import ModelFileError, OnnxRuntimeUnavailable, OperatorError, RuntimeFailed
from roastery.onnx_runtime.files import StandardModel, to_standard_model
from roastery.onnx_runtime.runtime import OnnxRuntime


def model_of(op_type: str, element: int = TensorProto.FLOAT) -> StandardModel:
    """y = operator(data, w), and twice = y + y."""
    nodes = [
        helper.make_node(op_type, ["data", "w"], ["y"], name=f"head/{op_type}_0"),
        helper.make_node("Add", ["y", "y"], ["twice"], name="head/Add_0"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, element, [f"{name}_rows", f"{name}_columns"]) for name in ("data", "w")],
        [helper.make_tensor_value_info(name, element, ["rows", "columns"]) for name in ("y", "twice")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return to_standard_model(ir.from_proto(proto))


ONES = {"data": np.ones((2, 3), np.float32), "w": np.ones((2, 3), np.float32)}


def test_a_session_takes_the_threads_that_it_is_told_or_else_pytorchs() -> None:
    """A fleet gives each of its processes a share of the cores by OMP_NUM_THREADS, which ONNX Runtime does not heed."""
    for told, taken in ((3, 3), (None, torch.get_num_threads())):
        with OnnxRuntime(model_of("Mul"), threads=told) as runtime:
            assert runtime._session.get_session_options().intra_op_num_threads == taken


def test_outputs_come_by_name_all_or_those_that_are_asked_for() -> None:
    with OnnxRuntime(model_of("Mul"), threads=1) as runtime:
        assert {name: array.tolist() for name, array in runtime.run(ONES).items()} == {
            "y": [[1.0] * 3] * 2,
            "twice": [[2.0] * 3] * 2,
        }
        assert list(runtime.run({**ONES, "im_info": np.ones(3, np.float32)}, fetch=["twice"])) == ["twice"]


def test_what_is_missing_is_named() -> None:
    with OnnxRuntime(model_of("Mul"), threads=1) as runtime:
        with pytest.raises(ModelFileError, match="the model has no output 'z'; it has y, twice"):
            runtime.run(ONES, fetch=["z"])
        with pytest.raises(ModelFileError, match="the model needs 'w', which the caller did not give"):
            runtime.run({"data": ONES["data"]})


def test_an_operator_that_refuses_its_inputs_is_named() -> None:
    with (
        OnnxRuntime(model_of("MatMul"), threads=1) as runtime,
        pytest.raises(OperatorError, match=r"ONNX Runtime: .*MatMul.*head/MatMul_0"),
    ):
        runtime.run(ONES)


def test_inputs_of_another_type_or_rank_are_refused() -> None:
    with OnnxRuntime(model_of("Mul"), threads=1) as runtime:
        for wrong in (ONES["data"].astype(np.int64), ONES["data"][0]):
            with pytest.raises(RuntimeFailed, match=r"ONNX Runtime: .*data"):
                runtime.run({**ONES, "data": wrong})


def test_a_model_that_onnx_runtime_has_no_kernels_for_is_refused() -> None:
    with pytest.raises(ModelFileError, match=r"ONNX Runtime refuses the model: .*Mul"):
        OnnxRuntime(model_of("Mul", TensorProto.BFLOAT16), threads=1)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(OnnxRuntimeUnavailable, match=r"install it with `pip install 'roastery\[onnxruntime\]'`"):
        OnnxRuntime(model_of("Mul"))
