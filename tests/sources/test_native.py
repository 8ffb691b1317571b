"""A detector from detectron2's config and checkpoint: what loads, and what is refused with which words."""

from pathlib import Path

import pytest

from roastery.config import load_config
from roastery.errors import ConfigError
from roastery.sources.native import build_detector, load_detector, net_arguments


def test_a_checkpoint_that_detectron2_wrote_fills_every_slot(demo_model: Path) -> None:
    config = load_config(demo_model / "config.yaml")
    detector = load_detector(config, demo_model / "model_final.pkl")
    assert not detector.training
    assert not any(parameter.requires_grad for parameter in detector.parameters())


def test_the_nets_arguments_say_how_to_prepare_an_image(mask_model: Path) -> None:
    config = load_config(mask_model / "config.yaml")
    arguments = net_arguments(config, build_detector(config))
    assert arguments["size_divisibility"] == 32
    assert arguments["meta_architecture"] == "GeneralizedRCNN"
    assert arguments["device"] == "cpu"
    assert arguments["pixel_mean"] == pytest.approx([103.53, 116.28, 123.675])


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_net_for_the_gpu_says_so_as_the_originals_does(mask_model: Path, device: str) -> None:
    config = load_config(mask_model / "config.yaml", ["MODEL.DEVICE", device])
    assert net_arguments(config, build_detector(config))["device"] == "cuda:0"


@pytest.mark.parametrize(
    ("override", "value", "message"),
    [
        ("MODEL.META_ARCHITECTURE", "PanopticDeepLab", "META_ARCHITECTURE: 'PanopticDeepLab'"),
        ("MODEL.META_ARCHITECTURE", "TensorMask", "META_ARCHITECTURE: .*SwapAlign2Nat.*train a Mask R-CNN"),
        ("MODEL.BACKBONE.NAME", "build_vit_backbone", "BACKBONE.NAME: 'build_vit_backbone'"),
        ("MODEL.PROPOSAL_GENERATOR.NAME", "RRPN", "PROPOSAL_GENERATOR.NAME: 'RRPN' .*RoIAlignRotated"),
        ("MODEL.ROI_HEADS.NAME", "RROIHeads", "ROI_HEADS.NAME: 'RROIHeads' .*axis-aligned"),
        ("MODEL.ROI_HEADS.NAME", "MyHeads", "ROI_HEADS.NAME: 'MyHeads' .*use one of CascadeROIHeads"),
        ("MODEL.ROI_HEADS.NAME", "CascadeROIHeads", "CLS_AGNOSTIC_BBOX_REG: .*set it to True"),
        ("MODEL.ROI_HEADS.NAME", "Res5ROIHeads", "IN_FEATURES: Res5ROIHeads take one map"),
        ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignRotated", "POOLER_TYPE: 'ROIAlignRotated' .*RoIAlignRotated"),
        ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIPool", "POOLER_TYPE: 'ROIPool' .*RoIPool"),
        (
            "MODEL.ROI_MASK_HEAD.NAME",
            "PointRendMaskHead",
            "ROI_MASK_HEAD.NAME: .*grid_sample.*ConvUpsampleHead",
        ),
        ("MODEL.ROI_HEADS.IN_FEATURES", "['p2', 'p4']", "ROI_BOX_HEAD: .*strides double"),
        ("MODEL.RESNETS.DEPTH", "42", "RESNETS.DEPTH: 42"),
        ("MODEL.RESNETS.RES5_DILATION", "4", "RES5_DILATION: 4"),
        ("MODEL.RESNETS.NORM", "LN", "RESNETS.NORM: normalisation 'LN'"),
        ("MODEL.RESNETS.DEFORM_ON_PER_STAGE", "[False, False, False, True]", "DEFORM_ON_PER_STAGE"),
        ("MODEL.FPN.FUSE_TYPE", "max", "FUSE_TYPE: 'max'"),
        ("MODEL.FPN.IN_FEATURES", "['res2', 'res4']", "must double from level to level"),
        ("MODEL.RPN.HEAD_NAME", "MyRPNHead", "RPN.HEAD_NAME: 'MyRPNHead'"),
        ("MODEL.RPN.IN_FEATURES", "['p2', 'p9']", "RPN.IN_FEATURES"),
        ("MODEL.LOAD_PROPOSALS", "True", "LOAD_PROPOSALS: is True, but .*'RPN'"),
        ("MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals", "LOAD_PROPOSALS: is False"),
        ("MODEL.DEVICE", "xla", "MODEL.DEVICE: 'xla'"),
        ("MODEL.DEVICE", "cuda:1", "MODEL.DEVICE: 'cuda:1'"),
    ],
)
def test_what_has_no_form_here_is_refused_by_its_key(mask_model: Path, override: str, value: str, message: str) -> None:
    config = load_config(mask_model / "config.yaml", [override, value])
    with pytest.raises(ConfigError, match=message) as refused:
        build_detector(config)
    assert "\n" not in str(refused.value)
