"""Demo models lowered to standard ONNX: what the detector gives, at every size, in files that repeat."""

from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes.common import RemoveUnusedNodesPass

from roastery.caffe2.model import Caffe2Model
from roastery.caffe2.nets import load_nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.data.preprocess import net_inputs, pad_and_batch, read_image, resize_shortest_edge
from roastery.evaluation.parity import compare_detections, compare_instances
from roastery.export.onnx import load_onnx
from roastery.metadata import MODULE_KEY
from roastery.onnx_runtime.files import MODEL_FILE, StandardModel, load_model, to_standard_model
from roastery.onnx_runtime.lower import standard_onnx
from roastery.onnx_runtime.model import OnnxModel
from roastery.onnx_runtime.runtime import OnnxRuntime

KINDS = (False, True)
Lowered = Callable[..., Path]


@pytest.fixture(scope="module")
def picture(shapes: Path) -> torch.Tensor:
    """An image of the demo zoo as a net takes it, (3, h, w)."""
    pixels = read_image(next(iter(sorted((shapes / "val" / "images").glob("*.jpg")))))
    return torch.from_numpy(resize_shortest_edge(pixels, 160, 256).transpose(2, 0, 1).copy()).float()


def sizes_of(picture: torch.Tensor, mean: list[float]) -> list[torch.Tensor]:
    """The picture, parts of it of other shapes, and a plain one in which nothing is found."""
    plain = torch.tensor(mean).reshape(3, 1, 1).expand(3, 100, 224)
    return [picture, picture[:, :131, :140], picture[:, 30:, 20:60], picture.transpose(1, 2), plain]


def test_a_lowered_model_gives_what_the_net_of_caffe2_gives(
    demo_model: Path, converted: Lowered, lowered: Lowered, picture: torch.Tensor
) -> None:
    nets, standard = load_nets(converted(demo_model.name)), load_model(lowered(demo_model.name))
    mean = OnnxModel(standard).arguments["pixel_mean"]
    assert isinstance(mean, list)
    with TorchRuntime(nets) as theirs, OnnxRuntime(standard, threads=1) as ours:
        for image in sizes_of(picture, mean):
            inputs = net_inputs([{"image": image.contiguous()}], 32, mean)
            expected, found = theirs.run(inputs), ours.run(inputs)
            assert found.keys() == expected.keys()
            assert {name: array.dtype for name, array in found.items()} == {
                name: array.dtype for name, array in expected.items()
            }
            assert compare_detections(expected, found).differences == ()


def test_a_lowered_model_is_called_as_the_caffe2_model_is(
    demo_model: Path, converted: Lowered, lowered: Lowered, picture: torch.Tensor
) -> None:
    inputs = [{"image": picture, "height": 200, "width": 310}, {"image": picture[:, :100].contiguous()}]
    with (
        Caffe2Model.load_protobuf(converted(demo_model.name)) as theirs,
        OnnxModel.load(lowered(demo_model.name), threads=1) as ours,
    ):
        assert ours.batch == theirs.batch == 1
        assert ours.preparation() == theirs.preparation()
        for expected, found in zip(theirs(inputs), ours(inputs), strict=True):
            assert found.keys() == expected.keys()
            assert compare_instances(expected["instances"], found["instances"]).differences == ()
            if "panoptic_seg" in expected:
                assert (found["panoptic_seg"][0] != expected["panoptic_seg"][0]).float().mean() <= 1e-4


def test_a_batch_gives_in_each_image_what_it_gives_alone(
    demo_model: Path, lowered: Lowered, picture: torch.Tensor
) -> None:
    # Only a RetinaNet has maps to decode.
    for decode in KINDS if "retinanet" in demo_model.name else (False,):
        with (
            OnnxModel.load(lowered(demo_model.name, decode=decode, batch=3), threads=1) as together,
            OnnxModel.load(lowered(demo_model.name, decode=decode), threads=1) as alone,
        ):
            mean = alone.arguments["pixel_mean"]
            assert isinstance(mean, list)
            inputs = [{"image": image.contiguous()} for image in sizes_of(picture, mean)]
            assert together.batch == 3
            for single, answer in zip(inputs, together(inputs), strict=True):
                (expected,) = alone([single])
                assert compare_instances(expected["instances"], answer["instances"]).differences == ()


def test_a_lowered_file_is_standard_checked_and_repeats_to_the_byte(
    demo_model: Path, converted: Lowered, lowered: Lowered
) -> None:
    file = lowered(demo_model.name) / MODEL_FILE
    model = onnx.load(file)
    assert {node.domain for node in model.graph.node} == {""}
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 21)]
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    source = load_onnx(converted(demo_model.name) / "model.onnx")
    # Its own sizes stay: of the height and the width of an image no one is fixed.
    assert [axis.dim_param != "" for axis in model.graph.input[0].type.tensor_type.shape.dim] == [
        *(False, False, True, True)
    ]
    assert to_standard_model(standard_onnx(source)).content == file.read_bytes()
    # The source is as it was.
    assert to_standard_model(standard_onnx(source)).content == file.read_bytes()


def test_nodes_are_named_after_their_module_and_operator(demo_model: Path, lowered: Lowered) -> None:
    nodes = onnx.load(lowered(demo_model.name) / MODEL_FILE).graph.node
    names = [node.name for node in nodes]
    assert len(set(names)) == len(names)
    for node in nodes:
        module = next((entry.value for entry in node.metadata_props if entry.key == MODULE_KEY), "")
        assert node.name.startswith(module)
    lowered_here = [name for name in names if "GenerateProposals_0/" in name]
    assert bool(lowered_here) is ("retinanet" not in demo_model.name)


def without_what_is_scaled(standard: StandardModel) -> onnx.ModelProto:
    """The model up to its boxes and masks: the reference scales maps pixel by pixel in Python, for minutes."""
    model = ir.from_proto(onnx.load_model_from_string(standard.content))
    wanted = [value for value in model.graph.outputs if value.name not in ("kps_score", "sem_seg")]
    model.graph.outputs.clear()
    model.graph.outputs.extend(wanted)
    RemoveUnusedNodesPass()(model)
    return ir.to_proto(model)


def test_the_reference_of_onnx_agrees_on_a_small_input(
    demo_model: Path, lowered: Lowered, picture: torch.Tensor
) -> None:
    standard = load_model(lowered(demo_model.name))
    mean = standard.arguments["pixel_mean"]
    assert isinstance(mean, list)
    data, im_info = (array.numpy() for array in pad_and_batch([picture[:, :64, :64]], 32, mean))
    model = without_what_is_scaled(standard)
    inputs = {value.name: {"data": data, "im_info": im_info}[value.name] for value in model.graph.input}
    names = [value.name for value in model.graph.output]
    expected = dict(zip(names, ReferenceEvaluator(model).run(None, inputs), strict=True))
    with OnnxRuntime(standard, threads=1) as runtime:
        found = runtime.run({"data": data, "im_info": im_info}, fetch=names)
    assert compare_detections(expected, found).differences == ()


@pytest.mark.graphviz
def test_a_model_is_drawn_with_its_operators_and_without_its_weights(
    any_golden: Path, lowered: Lowered, tmp_path: Path
) -> None:
    OnnxModel.load(lowered(any_golden.name)).save_graph(tmp_path / "model.svg")
    drawn = (tmp_path / "model.svg").read_text()
    assert all(text in drawn for text in ("GenerateProposals", "RoIAlign", ">data<", ">bbox_nms<", "parameter"))
