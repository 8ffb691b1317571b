"""Real faults in a real net: parity sees those that AP does not, and the AP gate sees the rest.

What each fault costs in AP was measured on the original's net: golden/README.md.
"""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roastery.caffe2.model import Caffe2Model
from roastery.caffe2.nets import Nets, load_nets
from roastery.config import load_config
from roastery.data.coco import CocoDataset, load_coco
from roastery.data.preprocess import pad_and_batch, to_input
from roastery.data.sampling import sample_images
from roastery.detectors.detector import detect_eagerly
from roastery.errors import RuntimeFailed
from roastery.evaluation.coco import evaluate_coco
from roastery.evaluation.gate import GatePolicy, Verdict, judge
from roastery.evaluation.parity import ParityReport, compare_detections
from roastery.evaluation.predict import Detected, detect
from roastery.reference.build import build_reference
from roastery.sources.native import load_detector
from roastery.spec import PipelineConfig

MODEL = "faster_rcnn_fpn"
POLICY = GatePolicy(max_ap_delta=0.05)
PASSED = ParityReport((), {})


@pytest.fixture(scope="module")
def nets(converted: Callable[[str], Path]) -> Nets:
    return load_nets(converted(MODEL))


@pytest.fixture(scope="module")
def config(shapes: Path) -> Any:
    return load_config(shapes / MODEL / "config.yaml")


@pytest.fixture(scope="module")
def val(shapes: Path) -> CocoDataset:
    return load_coco("val", shapes / "val" / "images", shapes / "val" / "instances.json")


@pytest.fixture(scope="module")
def original(shapes: Path, config: Any, val: CocoDataset) -> dict[str, dict[str, float]]:
    detector = load_detector(config, shapes / MODEL / "model_final.pkl")
    ids = [image.id for image in val.images]
    return evaluate_coco(
        val, detect(build_reference(config, detector), val, ids, config, val.category_ids).detections, ["bbox"]
    )


def _changed(nets: Nets, operator: str, argument: str, value: int) -> Nets:
    predict = copy.deepcopy(nets.predict_net)
    changed = [a for op in predict.op if op.type == operator for a in op.arg if a.name == argument]
    assert changed
    for found in changed:
        found.i = value
    return Nets(predict, nets.init_net)


def _with_largest_fc1_weight_doubled(nets: Nets) -> Nets:
    initial = copy.deepcopy(nets.init_net)
    (fill,) = [op for op in initial.op if op.output[0].endswith("box_head.fc1.weight")]
    (values,) = [argument for argument in fill.arg if argument.name == "values"]
    largest = int(np.argmax(np.abs(values.floats)))
    values.floats[largest] *= 2
    return Nets(copy.deepcopy(nets.predict_net), initial)


FAULTS: dict[str, Callable[[Nets], Nets]] = {
    "largest_fc1_weight_doubled": _with_largest_fc1_weight_doubled,
    "legacy_plus_one_in_box_with_nms_limit": lambda nets: _changed(nets, "BoxWithNMSLimit", "legacy_plus_one", 1),
    "roi_align_not_aligned": lambda nets: _changed(nets, "RoIAlign", "aligned", 0),
}


def _parity(shapes: Path, config: Any, nets: Nets) -> list[str]:
    """What differs between the eager detector and the net on as many images as a pipeline samples by default."""
    detector = load_detector(config, shapes / MODEL / "model_final.pkl")
    sample = load_coco("sample", shapes / "sample" / "images", shapes / "sample" / "instances.json")
    settings = PipelineConfig().sample
    differences: list[str] = []
    with Caffe2Model(nets) as model:
        for image in sample_images(sample, settings.n, settings.seed):
            data, im_info = pad_and_batch(
                [to_input(image.path, config)["image"]], detector.size_divisibility, config.MODEL.PIXEL_MEAN
            )
            expected = detect_eagerly(detector, {"data": data.numpy(), "im_info": im_info.numpy()})
            differences += compare_detections(expected, model.run(data.numpy(), im_info.numpy())).differences
    return differences


def test_parity_passes_the_net_as_it_was_converted(shapes: Path, config: Any, nets: Nets) -> None:
    assert _parity(shapes, config, nets) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_parity_fails_on(shapes: Path, config: Any, nets: Nets, fault: str) -> None:
    assert _parity(shapes, config, FAULTS[fault](nets)) != []


def _gate(
    val: CocoDataset, original: dict[str, dict[str, float]], detected: Detected, images: int | None = None
) -> Verdict:
    converted = evaluate_coco(val, detected.detections, ["bbox"])
    failures = [failure.file for failure in detected.failures]
    return judge(original, converted, PASSED, len(val.images) if images is None else images, failures, POLICY)


def _detect(nets: Nets, val: CocoDataset, config: Any) -> Detected:
    with Caffe2Model(nets) as model:
        return detect(model, val, [image.id for image in val.images], config, val.category_ids)


def test_the_ap_gate_passes_the_net_as_it_was_converted(
    nets: Nets, val: CocoDataset, config: Any, original: Any
) -> None:
    verdict = _gate(val, original, _detect(nets, val, config))
    assert verdict.reasons == ()
    assert abs(verdict.deltas["bbox/AP"]) <= 0.05


def test_the_ap_gate_fails_on_roi_align_that_is_not_aligned(
    nets: Nets, val: CocoDataset, config: Any, original: Any
) -> None:
    verdict = _gate(val, original, _detect(FAULTS["roi_align_not_aligned"](nets), val, config))
    assert not verdict.passed
    assert verdict.deltas["bbox/AP"] < -5


def test_the_ap_gate_fails_on_rgb_for_bgr(nets: Nets, val: CocoDataset, shapes: Path, original: Any) -> None:
    rgb = load_config(shapes / MODEL / "config.yaml", ["INPUT.FORMAT", "RGB"])
    verdict = _gate(val, original, _detect(nets, val, rgb))
    assert not verdict.passed
    assert verdict.deltas["bbox/AP"] < -5


def test_the_ap_gate_fails_on_one_image_that_raised(nets: Nets, val: CocoDataset, config: Any, original: Any) -> None:
    class FailsOnce(Caffe2Model):
        calls = 0

        def run(self, data: Any, im_info: Any) -> Any:
            self.calls += 1
            if self.calls == 7:
                raise RuntimeFailed("the runtime died")
            return super().run(data, im_info)

    with FailsOnce(nets) as model:
        detected = detect(model, val, [image.id for image in val.images], config, val.category_ids)
    verdict = _gate(val, original, detected)
    assert any("1 images failed: 000007.jpg" in reason for reason in verdict.reasons)


def test_the_ap_gate_fails_on_zero_images(val: CocoDataset, original: Any) -> None:
    nothing = Detected([], (), (), [])
    assert "no image was evaluated" in _gate(val, original, nothing, images=0).reasons


@pytest.mark.parametrize("broken", [math.nan, None], ids=["NaN", "missing"])
def test_the_ap_gate_fails_on_a_metric_that_is(original: Any, broken: float | None) -> None:
    metrics = copy.deepcopy(original)
    if broken is None:
        del metrics["bbox"]["AP"]
    else:
        metrics["bbox"]["AP"] = broken
    assert judge(original, original, PASSED, 100, (), POLICY).passed
    assert not judge(original, metrics, PASSED, 100, (), POLICY).passed
    assert not judge(metrics, original, PASSED, 100, (), POLICY).passed
