"""Nets for two images: what each is found in alone, of the architectures whose steps differ from image to image."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from model_zoo.build import SmallModel, answers_of, build_small
from model_zoo.compared import differences
from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.convert import convert
from roastery.caffe2.model import Caffe2Model
from roastery.data.preprocess import net_inputs
from roastery.detectors.detector import detect_eagerly
from roastery.evaluation.parity import compare_detections
from roastery.export.onnx import export_onnx
from roastery.export.trace import trace
from roastery.onnx_runtime.files import to_standard_model
from roastery.onnx_runtime.lower import standard_onnx
from roastery.onnx_runtime.model import OnnxModel
from roastery.onnx_runtime.runtime import OnnxRuntime
from roastery.sources.native import net_arguments

NAMES = [
    pytest.param(name, marks=pytest.mark.xdist_group(f"zoo-batch-{name}"))
    for name in (
        "COCO-Detection/rpn_R_50_FPN_1x.yaml",
        "COCO-Detection/rpn_R_50_C4_1x.yaml",
        "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml",
        "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
        "Misc/semantic_R_50_FPN_1x.yaml",
    )
]


def two_images(small: SmallModel) -> tuple[SmallModel, list[dict[str, Any]]]:
    """The model with its first image and one of that size in which nothing is decided narrowly either."""
    first = small.inputs[0]
    image = first["image"]
    for other in (image.flip(2), image.flip(1), image.transpose(1, 2), image.flip(0), 255 - image, image.flip(1, 2)):
        pair = replace(small, inputs=[first, {**first, "image": other.contiguous()}])
        answers, weaknesses = answers_of(pair)
        if not weaknesses:
            return pair, answers
    raise AssertionError("each second image decides something narrowly; take others")


@pytest.mark.parametrize("name", NAMES)
def test_standard_onnx_for_two_images_finds_in_each_what_the_reference_finds_in_it_alone(name: str) -> None:
    small, answers = two_images(build_small(name))
    detector, config = small.detector, small.config
    standard = to_standard_model(standard_onnx(export_onnx(trace(detector, net_arguments(config, detector), 2))))
    inputs = net_inputs(small.inputs, detector.size_divisibility, config.MODEL.PIXEL_MEAN)
    with OnnxRuntime(standard, threads=1) as runtime:
        assert compare_detections(detect_eagerly(detector, inputs), runtime.run(inputs)).differences == ()
    with OnnxModel(standard, threads=1) as model:
        for theirs, ours in zip(answers, model(small.inputs), strict=True):
            assert list(differences(theirs, ours)) == []
        (alone,) = model(small.inputs[1:])
        assert list(differences(answers[1], alone)) == []


@pytest.mark.caffe2
@pytest.mark.parametrize("name", NAMES)
def test_a_net_for_two_images_finds_in_each_what_the_reference_finds_in_it_alone(name: str) -> None:
    small, answers = two_images(build_small(name))
    detector, config = small.detector, small.config
    nets = convert(export_onnx(trace(detector, net_arguments(config, detector), 2)))
    inputs = net_inputs(small.inputs, detector.size_divisibility, config.MODEL.PIXEL_MEAN)
    with Caffe2Runtime(nets) as genuine:
        assert compare_detections(detect_eagerly(detector, inputs), genuine.run(inputs)).differences == ()
    with Caffe2Model(nets) as model:
        for theirs, ours in zip(answers, model(small.inputs), strict=True):
            assert list(differences(theirs, ours)) == []
        # A batch that is not full is filled up.
        (alone,) = model(small.inputs[1:])
        assert list(differences(answers[1], alone)) == []
    assert not torch.equal(small.inputs[0]["image"], small.inputs[1]["image"])
