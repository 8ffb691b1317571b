"""Every config of the model zoo, small: converted, and in every runtime what the reference is; or refused in a line."""

from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from model_zoo.build import SIZES, SmallModel, answers_of, build_small, distinct
from model_zoo.compared import differences
from model_zoo.configs import CONFIGS
from model_zoo.verdicts import refusal
from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.convert import convert
from roastery.caffe2.model import Caffe2Model
from roastery.caffe2.nets import Nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.converted_detector import ConvertedDetector
from roastery.data.preprocess import net_inputs
from roastery.detectors.detector import detect_eagerly
from roastery.errors import ConfigError
from roastery.evaluation.parity import compare_detections
from roastery.export.onnx import export_onnx
from roastery.export.trace import TRACED_SIZE, trace
from roastery.onnx_runtime.files import StandardModel, to_standard_model
from roastery.onnx_runtime.lower import standard_onnx
from roastery.onnx_runtime.model import OnnxModel
from roastery.onnx_runtime.runtime import OnnxRuntime
from roastery.sources.native import net_arguments

RUNTIMES = ("torch", pytest.param("caffe2", marks=pytest.mark.caffe2), "onnxruntime")
_RUNTIME_TYPES = {"torch": TorchRuntime, "caffe2": Caffe2Runtime}
_REFUSED = [name for name in CONFIGS if refusal(name)]
# One worker converts each for all runtimes.
CONVERTED = [
    pytest.param(name, marks=pytest.mark.xdist_group(f"zoo-{name}")) for name in distinct() if not refusal(name)
]


@lru_cache(maxsize=1)
def converted(name: str) -> tuple[SmallModel, list[dict[str, Any]], Nets, StandardModel]:
    """A config's small model, the reference's answers for it, its nets, and its standard ONNX."""
    small = build_small(name)
    answers, weaknesses = answers_of(small)
    assert weaknesses == [], "python -m model_zoo.find_seeds finds another seed"
    exported = export_onnx(trace(small.detector, net_arguments(small.config, small.detector)))
    standard = to_standard_model(standard_onnx(exported))
    return small, answers, convert(exported), standard


def opened(nets: Nets, standard: StandardModel, runtime: str) -> tuple[Any, ConvertedDetector]:
    """What runs the raw outputs, and the model that is called."""
    if runtime == "onnxruntime":
        return OnnxRuntime(standard, threads=1), OnnxModel(standard, threads=1)
    return _RUNTIME_TYPES[runtime](nets), Caffe2Model(nets, "caffe2" if runtime == "caffe2" else "torch")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", CONVERTED)
def test_a_config_converts_to_the_detector_that_finds_what_detectron2_finds(name: str, runtime: str) -> None:
    small, answers, nets, standard = converted(name)
    raw, called = opened(nets, standard, runtime)
    with raw as running, called as model:
        for single, theirs in zip(small.inputs, answers, strict=True):
            inputs = net_inputs([single], small.detector.size_divisibility, small.config.MODEL.PIXEL_MEAN)
            report = compare_detections(detect_eagerly(small.detector, inputs), running.run(inputs))
            assert report.differences == ()
            (answer,) = model([single])
            assert list(differences(theirs, answer)) == []


@pytest.mark.parametrize("name", _REFUSED)
def test_what_does_not_convert_is_refused_in_the_line_of_the_table(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build_small(name)
    assert str(refused.value) == refusal(name)


def test_a_deformable_config_is_refused_by_its_key_its_operator_and_the_way_out() -> None:
    deformable = [name for name, settings in CONFIGS.items() if any("DEFORM_ON" in key for key in settings)]
    assert len(deformable) == 4
    for name in deformable:
        line = refusal(name)
        assert line is not None
        assert all(part in line for part in ("MODEL.RESNETS.DEFORM_ON_PER_STAGE", "DeformConv", "train the model"))


def test_no_size_here_is_the_one_that_is_traced_and_not_all_are_whole_cells() -> None:
    padded = [tuple(-(-side // 32) for side in size) for size in SIZES]
    assert TRACED_SIZE not in padded
    assert any(side % 32 for size in SIZES for side in size)
    assert [np.sign(width - height) for height, width in SIZES] == [0, 1, -1]


def test_a_decision_that_is_near_is_seen() -> None:
    """Of a model whose seed does, a threshold moved onto a score."""
    small = build_small("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
    answers, weaknesses = answers_of(small)
    assert weaknesses == []
    small.config.defrost()
    small.config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = float(answers[0]["instances"].scores[3]) * 1.0001
    assert [each.partition(":")[0] for each in answers_of(small)[1]][:1] == ["threshold"]
