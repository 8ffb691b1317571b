"""Caffe2Tracer: detectron2's interface to a conversion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import roastery.tracer
from roastery import Caffe2Model, Caffe2Tracer, load_config
from roastery.data.preprocess import to_input
from roastery.errors import GateFailed
from roastery.evaluation.parity import compare_instances
from roastery.results import ParitySummary


@pytest.fixture(scope="module")
def inputs(box_model: Path, shapes: Path) -> list[dict[str, Any]]:
    config = load_config(box_model / "config.yaml")
    return [to_input(image, config) for image in sorted((shapes / "sample" / "images").glob("*.jpg"))[:2]]


@pytest.fixture(scope="module")
def tracer(box_model: Path, inputs: list[dict[str, Any]]) -> Caffe2Tracer:
    return Caffe2Tracer(load_config(box_model / "config.yaml"), box_model / "model_final.pkl", inputs)


@pytest.fixture(scope="module")
def model(tracer: Caffe2Tracer) -> Caffe2Model:
    return tracer.export_caffe2()


def test_the_caffe2_model_is_the_pipelines_to_the_byte(
    model: Caffe2Model, converted: Callable[[str], Path], box_model: Path, tmp_path: Path
) -> None:
    model.save_protobuf(tmp_path)
    for name in ("model.pb", "model_init.pb", "model.pbtxt"):
        assert (tmp_path / name).read_bytes() == (converted(box_model.name) / name).read_bytes(), name


def test_a_saved_model_detects_what_the_exported_one_does(
    model: Caffe2Model, inputs: list[dict[str, Any]], tmp_path: Path
) -> None:
    model.save_protobuf(tmp_path)
    with Caffe2Model.load_protobuf(tmp_path) as loaded:
        for before, after in zip(model(inputs), loaded(inputs), strict=True):
            assert len(before["instances"]) > 0
            assert before["instances"].pred_boxes.tensor.equal(after["instances"].pred_boxes.tensor)
            assert before["instances"].scores.equal(after["instances"].scores)


def test_the_onnx_model_is_the_pipelines(
    tracer: Caffe2Tracer, converted: Callable[[str], Path], box_model: Path
) -> None:
    proto = tracer.export_onnx()
    assert isinstance(proto, onnx.ModelProto)
    written = (converted(box_model.name) / "model.onnx").read_bytes()
    assert proto.SerializeToString(deterministic=True) == written


def test_the_program_runs_at_a_size_that_was_not_traced(tracer: Caffe2Tracer) -> None:
    outputs = tracer.export_program().module()(torch.zeros(1, 3, 96, 256), torch.tensor([[96.0, 256.0, 1.0]]))
    assert [tensor.shape[1:] for tensor in outputs] == [(4,), (), ()]


def test_a_net_that_differs_from_the_detector_on_a_sample_input_is_not_given(
    tracer: Caffe2Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(*arguments: object) -> ParitySummary:
        return ParitySummary(passed=False, images=1, differences=("bbox_nms: 1 pixel",), largest={}, runtime="torch")

    monkeypatch.setattr(roastery.tracer, "compare_on_sample", differs)
    with pytest.raises(GateFailed, match="bbox_nms: 1 pixel"):
        tracer.export_caffe2()


@pytest.mark.detectron2
def test_a_live_model_is_traced_as_detectron2s_tracer_takes_it_and_stays_as_it_is(
    mask_model: Path, inputs: list[dict[str, Any]]
) -> None:
    from roastery.results import ModelSource
    from roastery.sources.live.build import read_live_config
    from roastery.sources.live.importing import detectron2
    from roastery.sources.source import open_source

    live = read_live_config(mask_model / "config.yaml", [])
    model = detectron2("modeling").build_model(_on_cpu(live.own))
    detectron2("checkpoint").DetectionCheckpointer(model).load(str(mask_model / "model_final.pkl"))
    model.train()
    sample_input = inputs[0]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    exported = Caffe2Tracer(live.own, model, [sample_input]).export_caffe2()
    assert all(module.training for module in model.modules())
    assert any(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    source = open_source(ModelSource(kind="detectron2", config=str(mask_model / "config.yaml")))
    (expected,) = source.load(mask_model / "model_final.pkl").original([sample_input])
    (found,) = exported([sample_input])
    assert compare_instances(expected["instances"], found["instances"]).passed
    assert len(found["instances"]) > 0


def _on_cpu(cfg: Any) -> Any:
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "cpu"
    return cfg
