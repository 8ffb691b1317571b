"""The detector of a live detectron2 model beside the one of Roastery's own parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from roastery.caffe2.convert import convert
from roastery.caffe2.model import Caffe2Model
from roastery.config import dump_config, load_config, measures
from roastery.detectors.detector import detect_eagerly
from roastery.errors import UnsupportedModule
from roastery.evaluation.parity import compare_instances
from roastery.export.onnx import export_onnx, load_onnx, save_onnx
from roastery.export.trace import load_program, save_program, trace
from roastery.reference.build import build_reference
from roastery.sources.live.importing import detectron2
from roastery.sources.live.slots import detector_of
from roastery.sources.native import load_detector, net_arguments
from roastery.sources.source import Loaded, Source

pytestmark = pytest.mark.detectron2

HEATMAPS = "pred_keypoint_heatmaps"
"""What newer versions of detectron2 give beside the keypoints that are decoded from it."""
Live = Callable[..., tuple[Source, Loaded]]
Arrays = dict[str, NDArray[Any]]


@pytest.mark.parametrize("decode", [False, True])
def test_live_and_native_detectors_give_the_same_to_the_bit(
    live: Live, demo_model: Path, net_inputs_of_noise: Arrays, decode: bool
) -> None:
    source, loaded = live(demo_model, decode=decode)
    config = load_config(demo_model / "config.yaml")
    native = load_detector(config, demo_model / "model_final.pkl", decode=decode)
    ours = detect_eagerly(native, net_inputs_of_noise)
    theirs = detect_eagerly(loaded.detector, net_inputs_of_noise)
    assert len(ours.get("score_nms", [0])) > 0
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        np.testing.assert_array_equal(theirs[name], array, err_msg=name)
    assert net_arguments(source.config, loaded.detector) == net_arguments(config, native)


def test_what_is_read_of_a_live_models_config_is_what_is_read_of_the_file(live: Live, demo_model: Path) -> None:
    source, _ = live(demo_model)
    config = load_config(demo_model / "config.yaml")
    assert measures(source.config) == measures(config)
    ours, theirs = dump_config(config).splitlines(), dump_config(source.config).splitlines()
    assert [line for line in theirs if line not in ours] == []


def test_the_net_of_a_live_model_is_the_net_of_the_native_one(
    live: Live, demo_model: Path, converted: Callable[..., Path], tmp_path: Path, net_inputs_of_noise: Arrays
) -> None:
    source, loaded = live(demo_model)
    save_program(trace(loaded.detector, net_arguments(source.config, loaded.detector)), tmp_path / "model.pt2")
    save_onnx(export_onnx(load_program(tmp_path / "model.pt2")), tmp_path / "model.onnx")
    with Caffe2Model(convert(load_onnx(tmp_path / "model.onnx"))) as model:
        given = model.run(**net_inputs_of_noise)
        native = Caffe2Model.load_protobuf(converted(demo_model.name))
        # In the order of what does not hang on one another versions of detectron2 differ.
        live_types, native_types = ([op.type for op in each.predict_net.op] for each in (model, native))
        assert sorted(live_types) == sorted(native_types)
        assert sorted(model.predict_net.external_input) == sorted(native.predict_net.external_input)
        for name, array in native.run(**net_inputs_of_noise).items():
            np.testing.assert_allclose(given[name], array, rtol=1e-5, atol=1e-5, err_msg=name)
        native.close()


def test_the_live_model_answers_as_the_reference_does(live: Live, demo_model: Path, shapes: Path) -> None:
    from roastery.data.coco import load_coco
    from roastery.data.preprocess import to_input

    source, loaded = live(demo_model)
    config = load_config(demo_model / "config.yaml")
    reference = build_reference(config, load_detector(config, demo_model / "model_final.pkl"))
    dataset = load_coco("val", shapes / "val/images", shapes / "val/instances.json")
    found = 0
    for record in dataset.images[:8]:
        inputs = [to_input(record, source.config)]
        (theirs,), (ours,) = loaded.original(inputs), reference(inputs)
        if theirs["instances"].has(HEATMAPS):
            theirs["instances"].remove(HEATMAPS)
        report = compare_instances(ours["instances"], theirs["instances"])
        assert report.passed, report
        found += len(ours["instances"])
        if "panoptic_seg" in ours:
            assert (theirs["panoptic_seg"][0] == ours["panoptic_seg"][0]).double().mean() > 0.999
            torch.testing.assert_close(theirs["sem_seg"], ours["sem_seg"], rtol=1e-4, atol=1e-3)
    assert found > 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: setattr(model.backbone, "_square_pad", 1024), "pads every image to a square of 1024 pixels"),
        (lambda model: setattr(_predictor(model).box2box_transform, "scale_clamp", 5.0), "its scale_clamp is 5"),
        (lambda model: setattr(model.roi_heads.box_pooler, "output_size", (7, 14)), "pools to 7 x 14 cells"),
        (lambda model: setattr(model.roi_heads, "mask_in_features", ["p2"]), "takes the levels"),
        (lambda model: setattr(model.roi_heads, "mask_pooler", None), "roi_heads.mask_pooler: there is none"),
        (lambda model: setattr(model.roi_heads, "mask_head", torch.nn.ReLU()), "roi_heads.mask_head .*BaseMaskRCNN"),
    ],
)
def test_a_live_model_that_no_net_can_be_is_refused_by_its_part(
    live: Live, mask_model: Path, change: Callable[[Any], None], message: str
) -> None:
    source, _ = live(mask_model)
    model = source._model  # type: ignore[attr-defined]
    if "square" in message and not hasattr(type(model.backbone), "padding_constraints"):
        pytest.skip("this detectron2 has no backbones of squares")
    change(model)
    with pytest.raises(UnsupportedModule, match=message):
        detector_of(model)


def _predictor(model: Any) -> Any:
    return model.roi_heads.box_predictor


def test_a_model_of_nobody_elses_kind_is_refused(live: Live) -> None:
    detectron2()
    with pytest.raises(UnsupportedModule, match=r"the model \(torch.nn.*ReLU\) is none of detectron2's PanopticFPN"):
        detector_of(torch.nn.ReLU())
