"""The table of the model zoo is the model zoo: the same names, and the same settings but for those of training."""

import re
from pathlib import Path
from typing import Any

import pytest
from yacs.config import CfgNode

from model_zoo.configs import CONFIGS, as_overrides
from roastery.config import load_config
from roastery.zoo import zoo_folders

# What says how a model was trained, and changes nothing when it is run.
TRAINING = re.compile(
    r"(SOLVER|DATALOADER|INPUT\.CROP)\..*|TEST\.(EVAL_PERIOD|PRECISE_BN\..*)|.*_TRAIN(_SAMPLING)?|.*LOSS.*|.*SMOOTH_L1_BETA"
    r"|MODEL\.(WEIGHTS|BACKBONE\.FREEZE_AT)|DATASETS\.TRAIN|.*IOU_(THRESHOLDS|LABELS)"
)


def flat(tree: CfgNode, above: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return values


@pytest.fixture(scope="module")
def official() -> Path:
    """The folder of detectron2's own configs."""
    return next(folder for folder in zoo_folders() if (folder / "Base-RCNN-FPN.yaml").is_file())


def test_the_zoo_has_59_configs_in_ten_folders() -> None:
    # detectron2 0.5: MODEL_ZOO.md and configs/
    folders = [name.partition("/")[0] for name in CONFIGS]
    assert {folder: folders.count(folder) for folder in folders} == {
        "COCO-Detection": 16,
        "COCO-InstanceSegmentation": 11,
        "COCO-Keypoints": 4,
        "COCO-PanopticSegmentation": 3,
        "Cityscapes": 1,
        "Detectron1-Comparisons": 3,
        "LVISv0.5-InstanceSegmentation": 3,
        "LVISv1-InstanceSegmentation": 3,
        "Misc": 13,
        "PascalVOC-Detection": 2,
    }
    assert len(CONFIGS) == 59


def test_no_row_sets_what_is_of_training_or_what_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("")
    defaults = flat(load_config(tmp_path / "empty.yaml"))
    for name, settings in CONFIGS.items():
        assert [key for key in settings if TRAINING.fullmatch(key)] == [], name
        assert [key for key, value in settings.items() if key.count(".") > 1 and defaults[key] == value] == [], name


@pytest.mark.zoo
def test_the_table_names_every_official_config(official: Path) -> None:
    files = {file.relative_to(official).as_posix() for file in official.glob("*/*.yaml")}
    assert set(CONFIGS) == {
        name
        for name in files
        if not name.startswith("quick_schedules/") and not name.partition("/")[2].startswith("Base-")
    }


@pytest.mark.zoo
@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_sets_what_its_config_sets(official: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.yaml").write_text("")
    ours = flat(load_config(tmp_path / "empty.yaml", as_overrides(CONFIGS[name])))
    theirs = flat(load_config(official / name))
    differing = {key: (ours[key], theirs[key]) for key in theirs if ours[key] != theirs[key]}
    assert {key: values for key, values in differing.items() if not TRAINING.fullmatch(key)} == {}
