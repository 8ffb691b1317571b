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
