"""A config for the installed detectron2: what it does not know is taken where it says nothing, else refused."""

from pathlib import Path

import pytest
from yacs.config import CfgNode

from roastery.errors import ConfigError
from roastery.results import ModelSource
from roastery.sources.live.build import known_to, read_live_config
from roastery.sources.source import open_source

OLDER = CfgNode({"MODEL": {"DEVICE": "cpu", "RPN": {"NMS_THRESH": 0.7}}})
USUAL = {"MODEL": {"DEVICE": "cpu", "RPN": {"NMS_THRESH": 0.7, "CONV_DIMS": [-1]}, "FCOS": {"TOPK": 3}}, "SEED": -1}


def test_keys_of_another_version_are_left_out_where_they_say_what_is_usual() -> None:
    layer = {"MODEL": {"RPN": {"NMS_THRESH": 0.5, "CONV_DIMS": (-1,)}, "FCOS": {"TOPK": 3}}, "SEED": -1}
    assert known_to(OLDER, layer, USUAL) == {"MODEL": {"RPN": {"NMS_THRESH": 0.5}}}


def test_keys_of_another_version_that_say_something_stay_to_be_refused() -> None:
    layer = {"MODEL": {"RPN": {"CONV_DIMS": [-1, -1]}, "FCOS": {"TOPK": 4}}, "OWL": 1}
    assert known_to(OLDER, layer, USUAL) == layer


@pytest.mark.detectron2
def test_a_key_that_nobody_has_is_refused_unless_modules_may_have_added_it(box_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text((box_model / "config.yaml").read_text() + "OWL: {EYES: 2}\n")
    with pytest.raises(ConfigError, match="detectron2 does not take it: Non-existent config key: OWL"):
        read_live_config(file, [])
    assert read_live_config(file, [], new_keys=True).own["OWL"]["EYES"] == 2


@pytest.mark.detectron2
def test_a_yaml_that_asks_for_code_runs_none(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"OUTPUT_DIR: !!python/object/apply:pathlib.Path.touch [{tmp_path / 'ran'}]\n")
    with pytest.raises(ConfigError, match="not a config in plain YAML"):
        read_live_config(file, [])
    assert not (tmp_path / "ran").exists()


@pytest.mark.detectron2
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.BACKBONE.NAME", "NobodysBackbone", r"NobodysBackbone.*registry.*custom_modules \(--custom-module\)"),
        ("MODEL.RESNETS.DEPTH", "18", "detectron2 does not build it"),
        ("MODEL.NOTHING", "1", "detectron2 does not take it: Non-existent key: MODEL.NOTHING"),
    ],
)
def test_what_detectron2_does_not_build_is_refused_in_its_words(
    box_model: Path, key: str, value: str, message: str
) -> None:
    def build() -> None:
        said = ModelSource(kind="detectron2", config=str(box_model / "config.yaml"), overrides=(key, value))
        open_source(said).require_convertible()

    with pytest.raises(ConfigError, match=message):
        build()
