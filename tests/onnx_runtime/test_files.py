"""A stranger's model.onnx is read, or refused in one line, before anything of it runs."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from roastery.errors import ModelFileError
from roastery.metadata import NET_ARGUMENTS_KEY
from roastery.onnx_runtime.files import MODEL_FILE, load_model, save_model


def small_model() -> ModelProto:
    """y = data * w."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["data", "w"], ["y"], name="head/Mul_0")],
        "net",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "n"])],
        [helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    model.metadata_props.add(key=NET_ARGUMENTS_KEY, value=json.dumps({"size_divisibility": 32}))
    return model


def write(folder: Path, model: ModelProto) -> Path:
    (folder / MODEL_FILE).write_bytes(model.SerializeToString())
    return folder


def test_a_model_says_what_it_takes_and_gives_and_of_itself(tmp_path: Path) -> None:
    model = load_model(write(tmp_path, small_model()))
    assert (model.input_names, model.output_names) == (("data",), ("y",))
    assert model.arguments == {"size_divisibility": 32}
    save_model(model, tmp_path / "more" / "copy")
    assert load_model(tmp_path / "more" / "copy").content == model.content
    assert [path.name for path in (tmp_path / "more" / "copy").iterdir()] == [MODEL_FILE]


def of_another_domain(model: ModelProto) -> None:
    model.opset_import.add(domain="com.microsoft", version=1)
    model.graph.node[0].domain = "com.microsoft"


def of_another_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 20


def with_a_function(model: ModelProto) -> None:
    node = helper.make_node("Relu", ["x"], ["v"])
    model.functions.append(helper.make_function("own", "f", ["x"], ["v"], [node], [helper.make_opsetid("", 21)]))


def with_a_graph_inside(model: ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("q", TensorProto.FLOAT, [1])])
    model.graph.node.append(helper.make_node("If", ["w"], ["q"], then_branch=inner, else_branch=inner))


def with_weights_elsewhere(model: ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def with_too_many_outputs(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Split", ["data"], ["o"], axis=1, num_outputs=2**31 - 1))


def with_a_cycle(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "y"


def with_arguments_that_are_none(model: ModelProto) -> None:
    model.metadata_props[0].value = "[]"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (of_another_domain, "it is not of ONNX's own operators of opset 21 alone"),
        (of_another_opset, "it is not of ONNX's own operators of opset 21 alone"),
        (with_a_function, "it holds functions, training or sparse weights"),
        (with_a_graph_inside, "_branch' holds a graph"),
        (with_weights_elsewhere, "'w' lies outside of the file"),
        (with_too_many_outputs, "a Split counts more outputs than it has"),
        (with_a_cycle, "not a valid ONNX model"),
        (with_arguments_that_are_none, "are not numbers, texts and lists of numbers by name"),
    ],
)
def test_what_no_lowering_makes_is_refused(tmp_path: Path, change: Callable[[ModelProto], None], told: str) -> None:
    model = small_model()
    change(model)
    with pytest.raises(ModelFileError) as refused:
        load_model(write(tmp_path, model))
    assert told in str(refused.value)


def test_a_node_of_another_domain_is_refused_where_none_is_imported(tmp_path: Path) -> None:
    model = small_model()
    model.graph.node[0].domain = "ai.onnx.contrib"
    with pytest.raises(ModelFileError, match=r"operator 'Mul' is of domain 'ai\.onnx\.contrib'"):
        load_model(write(tmp_path, model))


def test_a_folder_without_the_file_and_a_file_that_is_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="a converted model is a folder with it"):
        load_model(tmp_path)
    (tmp_path / MODEL_FILE).write_bytes(b"no model")
    with pytest.raises(ModelFileError, match="not a valid ONNX model"):
        load_model(tmp_path)
    (tmp_path / MODEL_FILE).write_bytes(b"")
    with pytest.raises(ModelFileError):
        load_model(tmp_path)


def test_a_file_larger_than_an_onnx_file_can_be_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).touch()
    os.truncate(tmp_path / MODEL_FILE, 2**40)
    with pytest.raises(ModelFileError, match="1099511627776 bytes are more than an ONNX file can have"):
        load_model(tmp_path)


def test_a_graph_for_drawing_has_its_operators_without_the_weights(tmp_path: Path) -> None:
    graph = load_model(write(tmp_path, small_model())).graph
    (operator,) = graph.operators
    assert (operator.type, operator.name, list(operator.inputs)) == ("Mul", "head/Mul_0", ["data", "w"])
    assert (list(graph.inputs), list(graph.outputs)) == (["data"], ["y"])
    assert onnx.load(tmp_path / MODEL_FILE).graph.initializer[0].name == "w"
