"""The example of a backbone of one's own: converted by both sources, and what it is in both runtimes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from cli.main import app
from roastery.results import ModelSource
from roastery.sources.native import build_detector
from roastery.sources.source import Source, open_source

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/custom_backbone"
NATIVE = "examples.custom_backbone.toy_backbone"
LIVE = "examples.custom_backbone.toy_backbone_detectron2"


def _source(*modules: str) -> Source:
    return open_source(
        ModelSource(kind="native", config=str(EXAMPLE / "config.yaml"), custom_modules=modules, modules_from=str(ROOT))
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of chance in which much is found."""
    torch.manual_seed(0)
    detector = build_detector(_source(NATIVE).config)
    for name, parameter in detector.named_parameters():
        if name.endswith(("cls_score.weight", "objectness_logits.weight")):
            torch.nn.init.normal_(parameter, std=0.5)
    file = tmp_path_factory.mktemp("toy") / "model_final.pth"
    torch.save({"model": detector.state_dict()}, file)
    return file


def _convert(output: Path, weights: Path, *options: str) -> dict[str, Any]:
    config = ["--config-file", str(EXAMPLE / "config.yaml"), "--output", str(output)]
    result = CliRunner().invoke(app, ["convert", *config, *options, "MODEL.WEIGHTS", str(weights)])
    assert result.exit_code == 0, (result.output, result.exception)
    manifest: dict[str, Any] = json.loads((output / "manifest.json").read_text())
    return manifest


@pytest.mark.parametrize("runtime", ["torch", pytest.param("both", marks=pytest.mark.caffe2)])
def test_the_example_converts_with_the_module_that_registers_it(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    monkeypatch.chdir(ROOT)
    manifest = _convert(tmp_path / "out", weights, "--runtime", runtime, "--custom-module", NATIVE)
    assert manifest["verdict"]["passed"]
    assert manifest["source"]["runs_code"] == [NATIVE]
    operators = manifest["net"]["operators"]
    # Gates, SiLU and depthwise convolutions are operators of the net.
    assert {"HardSigmoid", "LeakyRelu", "Sigmoid", "AveragePool", "ResizeNearest"} <= set(operators)


def test_its_own_keys_are_added_by_its_function() -> None:
    config = _source(f"{NATIVE}:add_toy_config").config
    assert config.MODEL.TOY.CHANNELS == 32


@pytest.mark.detectron2
def test_the_same_checkpoint_converts_with_a_live_detectron2(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    live = _convert(tmp_path / "live", weights, "--source", "detectron2", "--custom-module", LIVE)
    native = _convert(tmp_path / "native", weights, "--custom-module", NATIVE)
    assert live["verdict"]["passed"]
    assert live["source"]["kind"] == "detectron2"
    assert live["net"]["operators"] == native["net"]["operators"]
    assert live["files"]["model_init.pb"] == native["files"]["model_init.pb"]


def test_without_its_module_the_config_is_refused_by_the_backbones_name(weights: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "config.yaml", tmp_path)
    text = (tmp_path / "config.yaml").read_text().replace("ToyBackbone", "NobodysBackbone")
    (tmp_path / "config.yaml").write_text(text)
    config = ["--config-file", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["convert", *config, "MODEL.WEIGHTS", str(weights)])
    assert result.exit_code == 2
    assert "MODEL.BACKBONE.NAME: 'NobodysBackbone'" in result.stderr
    assert "custom_modules" in result.stderr
    assert not (tmp_path / "out").exists()
