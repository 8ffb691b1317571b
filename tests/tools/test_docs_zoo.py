"""The page of the model zoo says of each config what the tests hold, and what the config is."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

from model_zoo.configs import CONFIGS
from model_zoo.verdicts import refusal

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("docs_zoo")


def test_the_page_has_a_row_for_each_config_with_its_verdict(generator: ModuleType) -> None:
    page = generator.zoo_page()
    rows = {}
    for section in page.split("\n## ")[1:]:
        folder = section.splitlines()[0]
        for name, *columns in re.findall(r"^\| `([\w.-]+\.yaml)` \| (.*) \| (.*) \| (.*) \|$", section, re.MULTILINE):
            rows[f"{folder}/{name}"] = columns
    assert list(rows) == list(CONFIGS)
    for name, (_, _, verdict) in rows.items():
        assert verdict.replace("\\", "") == (refusal(name) or "yes")
    converting = sum(refusal(name) is None for name in CONFIGS)
    assert f"{converting} convert, {59 - converting} do not" in page


@pytest.mark.parametrize(
    ("name", "backbone", "heads"),
    [
        ("COCO-Detection/fast_rcnn_R_50_FPN_1x.yaml", "R-50 FPN", "boxes of given proposals"),
        ("COCO-Detection/retinanet_R_101_FPN_3x.yaml", "R-101 FPN", "RetinaNet"),
        ("COCO-Detection/rpn_R_50_C4_1x.yaml", "R-50 C4", "proposals"),
        ("COCO-InstanceSegmentation/mask_rcnn_R_101_DC5_3x.yaml", "R-101 DC5", "boxes, masks"),
        ("COCO-Keypoints/keypoint_rcnn_X_101_32x8d_FPN_3x.yaml", "X-101 32x8d FPN", "boxes, keypoints"),
        (
            "Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv.yaml",
            "X-152 32x8d FPN, deformable",
            "cascade of boxes, masks",
        ),
        ("Misc/mask_rcnn_R_50_FPN_3x_gn.yaml", "R-50 FPN, GN", "boxes, masks"),
        ("Misc/semantic_R_50_FPN_1x.yaml", "R-50 FPN", "semantic"),
    ],
)
def test_backbone_and_heads_are_named_as_detectron2_names_them(
    generator: ModuleType, name: str, backbone: str, heads: str
) -> None:
    assert (generator.backbone(CONFIGS[name]), generator.heads(CONFIGS[name])) == (backbone, heads)


def test_a_panoptic_config_has_masks_and_a_semantic_head(generator: ModuleType) -> None:
    panoptic = [settings for settings in CONFIGS.values() if "Panoptic" in settings.get("MODEL.META_ARCHITECTURE", "")]
    assert {generator.heads(settings) for settings in panoptic} == {
        "boxes, masks, panoptic",
        "cascade of boxes, masks, panoptic",
    }
