import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from roastery.batch_norms import fold_batch_norms
from roastery.config import load_config
from roastery.data.coco import load_coco
from roastery.data.preprocess import net_inputs, to_input
from roastery.data.sampling import sample_images
from roastery.errors import ConfigError, ModelFileError
from roastery.export.onnx import load_onnx
from roastery.metadata import MODULE_KEY
from roastery.onnx_runtime.files import load_model, save_model
from roastery.onnx_runtime.layer_errors import layer_errors
from roastery.onnx_runtime.lower import standard_onnx
from roastery.onnx_runtime.quantize import quantize
from roastery.onnx_runtime.ranges import ranges
from roastery.onnx_runtime.rounded_layers import of_a_module, rounded_nodes
from roastery.onnx_runtime.runtime import OnnxRuntime
from roastery.onnx_runtime.scratch import scratch_runtime

IMAGES = 2
ROUNDINGS = ("QuantizeLinear", "DequantizeLinear")


def module(name, op_type, inputs, output, **attributes):
    node = helper.make_node(op_type, inputs, [output], name=f"{name}/{op_type}_0", **attributes)
    node.metadata_props.add(key=MODULE_KEY, value=name)
    return node


def small_model():
    """The same each time: convolutions in a row, the second normalized, a Relu behind the first three."""
    generator, channels, weights = np.random.default_rng(0), [3, 8, 8, 8, 4], []
    nodes, value = [], "data"
    for number in range(4):
        shape = (channels[number + 1], channels[number], 3, 3)
        weight = generator.normal(0, 0.2, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{number}"))
        nodes.append(module(f"net.conv{number}", "Conv", [value, f"w{number}"], f"conv{number}", pads=[1] * 4))
        value = f"conv{number}"
        if number == 1:
            for each in ("scale", "shift", "mean", "var"):
                factors = generator.uniform(0.5, 1.5, 8).astype(np.float32)
                weights.append(numpy_helper.from_array(factors, each))
            nodes.append(
                module("net.norm", "BatchNormalization", [value, "scale", "shift", "mean", "var"], "norm", epsilon=0.1)
            )
            value = "norm"
        if number < 3:
            nodes.append(module(f"net.relu{number}", "Relu", [value], f"relu{number}"))
            value = f"relu{number}"
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("conv3", onnx.TensorProto.FLOAT, ["n", 4, "h", "w"])],
        weights,
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))


def images(count=3, size=12):
    return [
        {"data": np.random.default_rng(seed).normal(0, 1, (1, 3, size, size)).astype(np.float32)}
        for seed in range(count)
    ]


def proto_of(model):
    return onnx.load_model_from_string(model.content)


def rounded_layers(proto):
    """The modules whose Conv or Gemm takes rounded weights."""
    rounded = {node.output[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    return {
        node.name.rpartition("/")[0]
        for node in proto.graph.node
        if node.op_type in ("Conv", "Gemm") and node.input[1] in rounded
    }


@pytest.fixture(scope="module")
def sample(shapes, box_model):
    config = load_config(box_model / "config.yaml")
    dataset = load_coco("sample", shapes / "sample/images", shapes / "sample/instances.json")
    records = sample_images(dataset, IMAGES, 0)
    return [net_inputs([to_input(record, config)], 32, config.MODEL.PIXEL_MEAN) for record in records]


@pytest.fixture(scope="module")
def standard(converted, box_model):
    """A demo model in float32."""
    return standard_onnx(load_onnx(converted(box_model.name) / "model.onnx"))


@pytest.fixture(scope="module")
def quantized(standard, sample):
    return quantize(standard.clone(), sample)


def test_a_folded_normalization_gives_what_the_two_gave():
    model = small_model()
    (given,) = images(1)
    with scratch_runtime(ir.to_proto(model)) as runtime:
        expected = runtime.run(given)["conv3"]
    fold_batch_norms(model.graph)
    proto = ir.to_proto(model)
    assert "BatchNormalization" not in {node.op_type for node in proto.graph.node}
    with scratch_runtime(proto) as runtime:
        np.testing.assert_allclose(runtime.run(given)["conv3"], expected, rtol=1e-4, atol=1e-5)


def test_ranges_are_the_extremes_over_all_images_and_leave_out_what_no_image_had():
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(small_model()))
    found = ranges(proto, ["data"], images())
    expected = np.concatenate([each["data"] for each in images()])
    assert (found["data"].least, found["data"].most) == (expected.min(), expected.max())
    nothing = [{"data": np.zeros((0, 3, 12, 12), np.float32)}]
    assert ranges(proto, ["data", "relu1"], nothing) == {}
    assert set(ranges(proto, ["data"], [*nothing, *images()])) == {"data"}


def test_first_and_last_layers_stay_float():
    quantized = quantize(small_model(), images())
    assert rounded_layers(proto_of(quantized.model)) == {"net.conv1", "net.conv2"}


@pytest.mark.parametrize("pattern", ["net.conv1", "net.c*1", "*.conv[1]"])
def test_a_layer_that_is_named_stays_float_and_has_no_error(pattern):
    quantized = quantize(small_model(), images(), [pattern])
    assert rounded_layers(proto_of(quantized.model)) == {"net.conv2"}
    assert {each.layer for each in quantized.layers} == {"net.conv2"}


def test_naming_a_module_keeps_all_in_it_float():
    assert rounded_layers(proto_of(quantize(small_model(), images(), ["net"]).model)) == set()


def test_a_name_that_no_layer_has_is_refused_with_those_that_are_close():
    with pytest.raises(ConfigError, match=r"no layer of the model is named 'net.conv9'; .*net\.conv") as caught:
        quantize(small_model(), images(), ["net.conv9"])
    assert "\n" not in str(caught.value)


def test_the_error_of_a_layer_is_what_the_rounded_model_differs_by():
    model = small_model()
    fold_batch_norms(model.graph)
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(model))
    quantized = quantize(small_model(), images(), ["net.conv2"])
    rounded = proto_of(quantized.model)
    (error,) = layer_errors(proto, rounded, images())
    # conv2 is float, so that the model's one rounded map is relu1, which it reads.
    for each in (proto, rounded):
        each.graph.output.append(helper.make_tensor_value_info("relu1", onnx.TensorProto.FLOAT, None))
    (dequantized,) = (
        node.output[0] for node in rounded.graph.node if node.op_type == "DequantizeLinear" and "relu1" in node.name
    )
    rounded.graph.output[-1].name = dequantized
    differences, values = 0.0, 0.0
    with scratch_runtime(proto) as float_runtime, scratch_runtime(rounded) as rounded_runtime:
        for given in images():
            value = float_runtime.run(given)["relu1"]
            differences += float(((rounded_runtime.run(given)[dequantized] - value) ** 2).sum())
            values += float((value**2).sum())
    assert error.layer == "net.conv1"
    assert error.error == pytest.approx((differences / values) ** 0.5, rel=1e-3)
    assert 0.001 < error.error < 0.05


def test_the_same_sample_gives_the_same_bytes():
    assert quantize(small_model(), images()).model.content == quantize(small_model(), images()).model.content


def test_detection_operators_are_those_of_the_float_model(standard, quantized):
    def nodes(proto):
        return [
            (node.op_type, node.name, [attribute.SerializeToString() for attribute in node.attribute])
            for node in proto.graph.node
            if node.op_type not in ROUNDINGS and not of_a_module(node)
        ]

    proto = proto_of(quantized.model)
    assert sorted(nodes(proto)) == sorted(nodes(ir.to_proto(standard)))
    integers = {node.output[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    readers = {node.op_type for node in proto.graph.node if integers & set(node.input)}
    assert readers == {"DequantizeLinear"}
    makers = {name: node for node in proto.graph.node for name in node.output}
    rounded = [makers[node.input[0]] for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    # None of them gives what is rounded but the pooled maps, before the layer that takes them.
    assert {node.op_type for node in rounded if not of_a_module(node)} <= {"Gather", "Where"}


def test_inputs_outputs_and_metadata_are_the_float_models(standard, quantized):
    proto, expected = proto_of(quantized.model), ir.to_proto(standard)
    assert list(proto.graph.input) == list(expected.graph.input)
    assert [each.name for each in proto.graph.output] == [each.name for each in expected.graph.output]
    assert {each.key: each.value for each in proto.metadata_props} == {
        each.key: each.value for each in expected.metadata_props
    }
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", 21)]
    assert len(quantized.model.content) < 0.5 * expected.ByteSize()


def test_the_worst_layers_come_first_and_are_named_as_modules(standard, quantized):
    errors = [each.error for each in quantized.layers]
    assert errors == sorted(errors, reverse=True)
    assert all(0 < error < 0.5 for error in errors)
    names = {each.layer for each in quantized.layers}
    assert names <= {node.metadata_props.get(MODULE_KEY) for node in standard.graph}
    assert len(names) == len(quantized.layers) == 20


def test_a_file_that_was_tampered_with_is_refused(quantized, tmp_path):
    save_model(quantized.model, tmp_path)
    assert load_model(tmp_path).content == quantized.model.content
    proto = proto_of(quantized.model)
    next(node for node in proto.graph.node if node.op_type == "QuantizeLinear").domain = "com.microsoft"
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelFileError, match=r"com\.microsoft"):
        load_model(tmp_path)


def test_an_image_in_which_nothing_is_found_runs(quantized, sample):
    blank = {"data": np.zeros_like(sample[0]["data"]), "im_info": sample[0]["im_info"]}
    with OnnxRuntime(quantized.model) as runtime:
        assert runtime.run(blank)["score_nms"].ndim == 1


def test_layers_to_which_nothing_came_stay_float_with_a_word():
    model = small_model()
    empty = [{"data": np.zeros((0, 3, 12, 12), np.float32)}]
    quantized = quantize(model, empty)
    assert rounded_layers(proto_of(quantized.model)) == set()
    assert "nothing came to net.conv1, net.conv2 on the sampled images" in quantized.warnings[0]


def test_only_what_is_named_is_rounded_of_a_graph():
    proto = ir.to_proto(small_model())
    assert rounded_nodes(proto.graph, ["net.conv2"]) == ["net.conv1/Conv_0"]
