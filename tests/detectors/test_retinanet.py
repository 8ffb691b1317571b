"""RetinaNets of other settings than the demo zoo's: as the original's, and as detectron2 decodes them."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from yacs.config import CfgNode

from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.convert import convert
from roastery.caffe2.model import Caffe2Model
from roastery.caffe2.nets import Nets, net_argument
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.config import load_config
from roastery.data.preprocess import net_inputs
from roastery.detectors.detector import detect_eagerly
from roastery.detectors.retinanet import RetinaNet
from roastery.errors import ConfigError
from roastery.evaluation.parity import REFERENCE, compare_detections, compare_instances
from roastery.export.onnx import export_onnx
from roastery.export.trace import trace
from roastery.reference.build import build_reference
from roastery.sources.native import build_detector, net_arguments

RUNTIMES = ("torch", pytest.param("caffe2", marks=pytest.mark.caffe2))
_RUNTIME_TYPES = {"torch": TorchRuntime, "caffe2": Caffe2Runtime}
SMALL = [
    *("MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone"),
    *("MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.STEM_OUT_CHANNELS", "8", "MODEL.RESNETS.RES2_OUT_CHANNELS", "8"),
    *("MODEL.RESNETS.OUT_FEATURES", "['res3', 'res4', 'res5']", "MODEL.FPN.IN_FEATURES", "['res3', 'res4', 'res5']"),
    *("MODEL.FPN.OUT_CHANNELS", "32", "MODEL.RETINANET.NUM_CLASSES", "4", "TEST.DETECTIONS_PER_IMAGE", "20"),
    *("MODEL.ANCHOR_GENERATOR.SIZES", "[[32, 40], [64, 80], [128, 160], [256, 320], [512, 640]]"),
    *("MODEL.RETINANET.TOPK_CANDIDATES_TEST", "50", "MODEL.DEVICE", "cpu"),
]
KINDS = {
    "smooth_l1": [],
    "giou": ["MODEL.RETINANET.BBOX_REG_LOSS_TYPE", "giou"],
    "one_convolution": ["MODEL.RETINANET.NUM_CONVS", "1"],
    "group_norm": ["MODEL.RETINANET.NORM", "GN"],
    "batch_norm": ["MODEL.RETINANET.NORM", "SyncBN"],
    "weights": ["MODEL.RETINANET.BBOX_REG_WEIGHTS", "(10.0, 10.0, 5.0, 5.0)"],
    "offset": ["MODEL.ANCHOR_GENERATOR.OFFSET", "0.5"],
    "one_class": ["MODEL.RETINANET.NUM_CLASSES", "1", "MODEL.RETINANET.TOPK_CANDIDATES_TEST", "1000"],
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text("{}\n")
    return path


def detector_of(config: CfgNode, decode: bool) -> RetinaNet:
    """With weights by chance, the same each time; scores spread over 0..1, and norms that have seen something."""
    torch.manual_seed(0)
    detector = build_detector(config, decode)
    assert isinstance(detector, RetinaNet)
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.GroupNorm):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    # Where features are large, less of them: of scores that the sigmoid rounds to 1, all would be tied.
    spread = {"GN": 0.08}.get(config.MODEL.RETINANET.NORM, 0.4 if config.MODEL.RETINANET.NUM_CONVS > 1 else 0.03)
    detector.head.cls_score.weight.data.normal_(0, spread)
    detector.head.bbox_pred.weight.data.normal_(0, 0.05)
    return detector.requires_grad_(False)


def image(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, height, width)).astype(np.float32))


@cache
def converted_of(config_file: Path, kind: str, decode: bool) -> tuple[CfgNode, RetinaNet, Nets]:
    config = load_config(config_file, [*SMALL, *KINDS[kind]])
    detector = detector_of(config, decode)
    return config, detector, convert(export_onnx(trace(detector, net_arguments(config, detector))))


# One worker converts each for both runtimes. Of heads alone a raw net shows nothing that a decoding one does not.
@pytest.mark.xdist_group("retinanet")
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("kind", "decode"), [*((kind, True) for kind in KINDS), ("smooth_l1", False), ("weights", False), ("offset", False)]
)
def test_it_is_the_detector_and_finds_what_detectron2_finds(small: Path, kind: str, decode: bool, runtime: str) -> None:
    config, detector, nets = converted_of(small, kind, decode)
    # PyTorch normalises no group of a single number, which a map of one cell would have.
    singles = [{"image": image(128, 192), "height": 256, "width": 384}, {"image": image(100, 150)}]
    reference = build_reference(config, detector)
    with _RUNTIME_TYPES[runtime](nets) as running, Caffe2Model(nets, runtime) as model:
        for single in singles:
            inputs = net_inputs([single], 32, config.MODEL.PIXEL_MEAN)
            report = compare_detections(detect_eagerly(detector, inputs), running.run(inputs))
            assert report.differences == ()
            (answer,), (theirs,) = model([single]), reference([single])
            assert len(theirs["instances"]) > 2
            assert compare_instances(theirs["instances"], answer["instances"], REFERENCE).differences == ()


def test_the_net_says_its_thresholds_and_its_anchors_as_numbers(small: Path) -> None:
    config = load_config(small, [*SMALL, *KINDS["weights"], *KINDS["offset"]])
    detector = detector_of(config, decode=False)
    net = convert(export_onnx(trace(detector, net_arguments(config, detector)))).predict_net
    assert net_argument(net, "meta_architecture", "") == "RetinaNet"
    assert net_argument(net, "score_threshold", 0.0) == pytest.approx(0.05)
    assert net_argument(net, "topk_candidates", 0) == 50
    assert net_argument(net, "nms_threshold", 0.0) == 0.5
    assert net_argument(net, "max_detections_per_image", 0) == 20
    assert net_argument(net, "bbox_reg_weights", [0.0]) == [10.0, 10.0, 5.0, 5.0]
    assert net_argument(net, "anchor_strides", [0]) == [8, 16, 32, 64, 128]
    # Of the first level's six anchors the first: 32^2 pixels, half as high as wide, moved by half a stride.
    width, height = 32 * 2**0.5, 32 / 2**0.5
    first = net_argument(net, "cell_anchors_0", [0.0])
    assert len(first) == 2 * 3 * 4
    assert first[:4] == pytest.approx([4 - width / 2, 4 - height / 2, 4 + width / 2, 4 + height / 2], rel=1e-6)
    assert not any("pickle" in argument.name or "serialized" in argument.name for argument in net.arg)


def test_levels_without_a_candidate_above_the_threshold_give_nothing(small: Path) -> None:
    config = load_config(small, [*SMALL, "MODEL.RETINANET.SCORE_THRESH_TEST", "0.0"])
    detector = detector_of(config, decode=True)
    # Every score is the sigmoid of -200, which is 0 in float32: not above a threshold of 0.
    detector.head.cls_score.weight.data.zero_()
    detector.head.cls_score.bias.data.fill_(-200.0)
    outputs: dict[str, Any] = detect_eagerly(
        detector, net_inputs([{"image": image(64, 64)}], 32, config.MODEL.PIXEL_MEAN)
    )
    assert {name: array.shape for name, array in outputs.items()} == {
        "bbox_nms": (0, 4),
        "score_nms": (0,),
        "class_nms": (0,),
    }


@pytest.mark.parametrize(
    ("overrides", "decode", "named"),
    [
        (["MODEL.RETINANET.IN_FEATURES", "['p2', 'p3']"], False, "MODEL.RETINANET.IN_FEATURES"),
        (["MODEL.RETINANET.SCORE_THRESH_TEST", "-0.1"], True, "SCORE_THRESH_TEST"),
        (["MODEL.RETINANET.TOPK_CANDIDATES_TEST", "0"], True, "TOPK_CANDIDATES_TEST"),
        (["MODEL.RETINANET.NORM", "LN"], False, "MODEL.RETINANET.NORM"),
        (["MODEL.RESNETS.OUT_FEATURES", "['res3', 'res4']"], False, "res5"),
    ],
)
def test_what_it_cannot_be_is_refused_in_one_line(small: Path, overrides: list[str], decode: bool, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as raised:
        build_detector(load_config(small, [*SMALL, *overrides]), decode)
    assert "\n" not in str(raised.value)
