"""The semantic head beside detectron2's description of it."""

from pathlib import Path

import pytest
import torch

from roastery.config import load_config
from roastery.detectors.backbone import ShapeSpec
from roastery.detectors.semantic_head import build_semantic_head
from roastery.errors import ConfigError

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
SHAPES = {name: ShapeSpec(channels=16, stride=stride) for name, stride in STRIDES.items()}


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("MODEL:\n  SEM_SEG_HEAD:\n    CONVS_DIM: 32\n    NUM_CLASSES: 5\n")
    return path


def test_every_level_comes_to_the_size_of_the_image(config_file: Path) -> None:
    head = build_semantic_head(load_config(config_file), SHAPES).eval()
    features = {name: torch.rand(2, 16, 64 // stride, 128 // stride) for name, stride in STRIDES.items()}
    assert head(features)[0].shape == (2, 5, 64, 128)
    # One convolution for p2 and p3, one more for each halving beyond.
    assert [len(head.get_submodule(name)) for name in ("p2", "p3", "p4", "p5")] == [1, 2, 4, 6]


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("NAME", "DeepLabV3Head", "SemSegFPNHead"),
        ("IN_FEATURES", "['p2', 'p9']", "IN_FEATURES"),
        ("COMMON_STRIDE", "8", "COMMON_STRIDE"),
        ("COMMON_STRIDE", "3", "COMMON_STRIDE"),
        ("NORM", "LN", "MODEL.SEM_SEG_HEAD.NORM"),
    ],
)
def test_what_it_cannot_be_is_refused_in_one_line(config_file: Path, key: str, value: str, named: str) -> None:
    config = load_config(config_file, [f"MODEL.SEM_SEG_HEAD.{key}", value])
    with pytest.raises(ConfigError, match=named) as raised:
        build_semantic_head(config, SHAPES)
    assert "\n" not in str(raised.value)
