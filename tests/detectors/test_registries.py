"""Registries of detectron2's names: a user's part is built by its name, and what is no such part is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.config import family, load_config, measures
from roastery.detectors import registries
from roastery.detectors.backbone import ShapeSpec
from roastery.detectors.build import build_model, build_stages
from roastery.detectors.generalized_rcnn import GeneralizedRCNN
from roastery.errors import ConfigError

# Source: detectron2 0.6, the registries of modeling/ and its parts.
NAMES = (
    *("META_ARCH", "BACKBONE", "PROPOSAL_GENERATOR", "RPN_HEAD", "ANCHOR_GENERATOR"),
    *("ROI_HEADS", "ROI_BOX_HEAD", "ROI_MASK_HEAD", "ROI_KEYPOINT_HEAD", "SEM_SEG_HEADS"),
)


@pytest.fixture
def own_parts() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    all_parts = [getattr(registries, f"{name}_REGISTRY")._obj_map for name in NAMES]
    before = [dict(parts) for parts in all_parts]
    yield
    for parts, kept in zip(all_parts, before, strict=True):
        parts.clear()
        parts.update(kept)


@pytest.mark.parametrize("name", NAMES)
def test_every_registry_of_detectron2s_parts_is_here_with_its_parts(name: str) -> None:
    assert len(list(getattr(registries, f"{name}_REGISTRY"))) >= 1


@pytest.mark.usefixtures("own_parts")
def test_heads_of_ones_own_are_built_by_their_names(mask_model: Path) -> None:
    @registries.ROI_BOX_HEAD_REGISTRY.register()
    class FlatHead(nn.Module):
        def __init__(self, cfg: CfgNode, input_shape: ShapeSpec) -> None:
            super().__init__()
            assert input_shape.channels
            assert input_shape.height
            self.width = input_shape.channels * input_shape.height**2

        @property
        def output_shape(self) -> ShapeSpec:
            return ShapeSpec(channels=self.width)

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)

    @registries.ROI_MASK_HEAD_REGISTRY.register()
    class OneLayer(nn.Module):
        def __init__(self, cfg: CfgNode, input_shape: ShapeSpec) -> None:
            super().__init__()
            self.up = nn.ConvTranspose2d(input_shape.channels or 0, cfg.MODEL.ROI_HEADS.NUM_CLASSES, 2, 2)

        def layers(self, x: Tensor) -> Tensor:
            return self.up(x)

    names = ["MODEL.ROI_BOX_HEAD.NAME", "FlatHead", "MODEL.ROI_MASK_HEAD.NAME", "OneLayer"]
    detector = build_model(load_config(mask_model / "config.yaml", names))
    assert isinstance(detector, GeneralizedRCNN)
    assert isinstance(detector.roi_heads.box_head, FlatHead)
    assert detector.roi_heads.box_predictor.cls_score.in_features == detector.roi_heads.box_head.width
    assert isinstance(detector.roi_heads.mask_head, OneLayer)


@pytest.mark.usefixtures("own_parts")
def test_a_meta_architecture_of_ones_own_is_measured_as_what_it_derives_from(mask_model: Path) -> None:
    @registries.META_ARCH_REGISTRY.register()
    class BrightRCNN(GeneralizedRCNN):
        def __init__(self, cfg: CfgNode) -> None:
            super().__init__(*build_stages(cfg), cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)

    config = load_config(mask_model / "config.yaml", ["MODEL.META_ARCHITECTURE", "BrightRCNN"])
    assert isinstance(build_model(config), BrightRCNN)
    assert family(config) == "GeneralizedRCNN"
    assert measures(config) == measures(load_config(mask_model / "config.yaml"))


@pytest.mark.usefixtures("own_parts")
@pytest.mark.parametrize(
    ("registry", "key", "kind"),
    [
        ("META_ARCH", "MODEL.META_ARCHITECTURE", "Detector"),
        ("BACKBONE", "MODEL.BACKBONE.NAME", "Backbone"),
        ("ROI_HEADS", "MODEL.ROI_HEADS.NAME", "RoIHeads"),
    ],
)
def test_a_part_that_is_none_of_its_kind_is_refused(mask_model: Path, registry: str, key: str, kind: str) -> None:
    @getattr(registries, f"{registry}_REGISTRY").register()
    def something(*_: object) -> nn.Module:
        return nn.ReLU()

    with pytest.raises(ConfigError, match=rf"^{key}: 'something' gives a ReLU, not a {kind} of roastery"):
        build_model(load_config(mask_model / "config.yaml", [key, "something"]))


def test_a_name_that_nobody_registered_is_refused_with_the_way_to_register_it(mask_model: Path) -> None:
    config = load_config(mask_model / "config.yaml", ["MODEL.ROI_BOX_HEAD.NAME", "NobodysHead"])
    with pytest.raises(ConfigError, match=r"'NobodysHead' has no Caffe2 form.*custom_modules \(--custom-module\)"):
        build_model(config)
