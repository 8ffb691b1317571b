"""model.onnx: what is written is checked, and what is read is a model and no more."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import helper

from roastery.errors import ModelFileError
from roastery.export.onnx import load_onnx, save_onnx
from roastery.metadata import MODULE_KEY, NET_ARGUMENTS_KEY, PLACE_KEY
from roastery.ops.definition import ONNX_DOMAIN


def test_an_exported_model_passes_the_checker_with_caffe2s_operators_in_their_domain(
    converted: Callable[[str], Path],
    mask_model: Path,
) -> None:
    proto = onnx.load(converted(mask_model.name) / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert {opset.domain: opset.version for opset in proto.opset_import}[""] == 21
    own = [node.op_type for node in proto.graph.node if node.domain == ONNX_DOMAIN]
    assert {"GenerateProposals", "BoxWithNMSLimit", "RoIAlign"} <= set(own)
    assert {node.domain for node in proto.graph.node} == {"", ONNX_DOMAIN}


def test_an_exported_model_says_its_nets_arguments_and_each_nodes_module(
    converted: Callable[[str], Path], mask_model: Path
) -> None:
    proto = onnx.load(converted(mask_model.name) / "model.onnx")
    arguments = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(arguments[NET_ARGUMENTS_KEY])["size_divisibility"] == 32
    modules = [entry.value for node in proto.graph.node for entry in node.metadata_props if entry.key == MODULE_KEY]
    assert "backbone.bottom_up.stem.conv1" in modules


def test_an_exported_model_holds_no_path_and_no_stack_trace(converted: Callable[[str], Path], mask_model: Path) -> None:
    content = (converted(mask_model.name) / "model.onnx").read_bytes()
    for trace_of_a_machine in (b"site-packages", b"stack_trace", PLACE_KEY.encode(), str(Path.cwd()).encode()):
        assert trace_of_a_machine not in content


def test_what_is_read_is_written_again_to_the_byte(
    converted: Callable[[str], Path], mask_model: Path, tmp_path: Path
) -> None:
    source = converted(mask_model.name) / "model.onnx"
    save_onnx(load_onnx(source), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == source.read_bytes()


def test_a_model_that_the_checker_refuses_is_not_left(
    converted: Callable[[str], Path], mask_model: Path, tmp_path: Path
) -> None:
    model = load_onnx(converted(mask_model.name) / "model.onnx")
    next(iter(model.graph)).op_type = "NoSuchOperator"
    with pytest.raises(onnx.checker.ValidationError):
        save_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_a_model_file_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such ONNX file"):
        load_onnx(tmp_path / "model.onnx")


@pytest.mark.parametrize("content", [b"", b"not ONNX", b"\x08\x09" * 100], ids=["empty", "text", "fields"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match="not a valid ONNX model"):
        load_onnx(tmp_path / "model.onnx")


def test_a_truncated_model_is_refused(converted: Callable[[str], Path], mask_model: Path, tmp_path: Path) -> None:
    whole = (converted(mask_model.name) / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match="not a valid ONNX model"):
        load_onnx(tmp_path / "model.onnx")


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/passwd"])
def test_weights_outside_of_the_file_are_refused(tmp_path: Path, location: str) -> None:
    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[2])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "w"], ["y"])],
        "outside",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])],
        [weight],
    )
    (tmp_path / "weights.bin").write_bytes(b"\0" * 8)
    opset = onnx.helper.make_opsetid("", 21)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError):
        load_onnx(tmp_path / "model.onnx")


def test_a_model_that_is_a_pipe_or_a_device_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path / "pipe.onnx", Path("/dev/zero")):
        with pytest.raises(ModelFileError, match="Is a pipe, a socket or a device, not a file"):
            load_onnx(path)


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/dev/zero", "x" * 300])
@pytest.mark.parametrize("place", ["constant", "inner graph", "sparse", "function"])
def test_weights_outside_of_the_file_are_refused_wherever_a_tensor_is(
    tmp_path: Path, location: str, place: str
) -> None:
    outside = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[2])
    outside.data_location = onnx.TensorProto.EXTERNAL
    outside.external_data.add(key="location", value=location)
    constant = onnx.helper.make_node("Constant", [], ["k"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR, t=outside)
    value = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])
    relu = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph(
        [relu], "outside", [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])], [value]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    match place:
        case "constant":
            model.graph.node.append(constant)
        case "inner graph":
            inner = onnx.helper.make_graph([constant], "inner", [], [value])
            model.graph.node.append(onnx.helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))
        case "sparse":
            model.graph.sparse_initializer.add(values=outside, indices=outside, dims=[2])
        case "function":
            opset = onnx.helper.make_opsetid("", 21)
            model.functions.append(onnx.helper.make_function("own", "f", [], ["k"], [constant], [opset]))
    (tmp_path / "weights.bin").write_bytes(b"\0" * 8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="'w' lies outside of the file; embed the weights"):
        load_onnx(tmp_path / "model.onnx")


@pytest.mark.parametrize("text", ["module", "Relu", "net", "x", "alpha", "a.domain", "weight"])
def test_text_that_is_not_utf8_is_refused_wherever_it_stands(tmp_path: Path, text: str) -> None:
    relu = onnx.helper.make_node("Relu", ["x"], ["y"], alpha=1.0)
    relu.metadata_props.add(key="roastery.module", value="module")
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in ("x", "y")]
    weight = onnx.helper.make_tensor("weight", onnx.TensorProto.FLOAT, [1], [0.0])
    graph = onnx.helper.make_graph([relu], "net", values[:1], values[1:], [weight])
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("a.domain", 1)]
    content = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    quoted = bytes([len(text)]) + text.encode()
    assert quoted in content
    (tmp_path / "model.onnx").write_bytes(content.replace(quoted, bytes([len(text)]) + b"\xff" * len(text)))
    with pytest.raises(ModelFileError, match=r"model\.onnx: a text in it is not UTF-8; export it again"):
        load_onnx(tmp_path / "model.onnx")


def test_a_graph_that_only_the_checker_lets_through_is_refused(tmp_path: Path) -> None:
    constant = onnx.helper.make_node("Constant", [], ["y"])
    attribute = constant.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.values.CopyFrom(onnx.helper.make_tensor("v", onnx.TensorProto.FLOAT, [1], [1.0]))
    attribute.sparse_tensor.indices.CopyFrom(onnx.helper.make_tensor("i", onnx.TensorProto.INT64, [1], [0]))
    attribute.sparse_tensor.dims.append(2)
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])
    graph = onnx.helper.make_graph([constant], "sparse", [], [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="not a valid ONNX model"):
        load_onnx(tmp_path / "model.onnx")


def test_a_split_that_counts_more_outputs_than_it_has_is_refused_before_room_is_made_for_them(tmp_path: Path) -> None:
    node = helper.make_node("Split", ["x"], ["y"], num_outputs=2**31 - 1)
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in "xy")
    model = helper.make_model(helper.make_graph([node], "net", [x], [y]), opset_imports=[helper.make_opsetid("", 21)])
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="a Split counts more outputs than it has"):
        load_onnx(path)
