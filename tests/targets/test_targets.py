"""The rows of targets: what the pipeline takes for granted of each."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from roastery.errors import ConfigError
from roastery.results import ArtifactRef
from roastery.spec import PipelineConfig, load_model
from roastery.targets import TARGETS, TargetName, module_of, runtimes, suffixes, target_of
from roastery.targets.target import Target


def test_every_folder_of_targets_is_a_row_under_its_name() -> None:
    assert {"caffe2", "onnxruntime"} <= set(TARGETS)
    for name in TARGETS:
        target = target_of(name)
        assert isinstance(target, Target)
        assert target.name == name
        assert module_of(name) == type(target).__module__


def test_no_two_targets_share_a_runtime_or_a_suffix() -> None:
    every = [target_of(name) for name in TARGETS]
    assert len(runtimes()) == sum(len(target.runtimes) for target in every)
    assert len(suffixes()) == len(every)
    # A registered name is split at its last dot.
    assert all(suffix.startswith(".") and suffix.count(".") == 1 for suffix in suffixes())


@pytest.mark.parametrize("name", TARGETS)
def test_what_describes_a_model_is_of_its_files_and_an_extra_is_none_of_them(name: str) -> None:
    target = target_of(name)
    assert set(target.graph) <= set(target.files)
    assert not set(target.files) & set(target.extras)
    assert target.kept == {*target.files, *target.extras}


def artifact(stage: str, *files: str) -> ArtifactRef:
    return ArtifactRef(stage=stage, key="0", uri=f"/store/{stage}/0", files=dict.fromkeys(files, "0" * 64))


def test_the_exported_onnx_is_filed_beside_a_caffe2_model_and_not_in_the_place_of_an_onnx_model() -> None:
    exported = artifact("export_onnx", "model.onnx")
    nets = artifact("convert", "model.pb", "model_init.pb", "facts.json")
    assert target_of("caffe2").origins(nets, exported) == {
        "model.onnx": exported,
        "model.pb": nets,
        "model_init.pb": nets,
    }
    standard = artifact("convert", "model.onnx", "facts.json")
    assert target_of("onnxruntime").origins(standard, exported) == {"model.onnx": standard}


def test_a_config_names_targets_once_each_and_knows_no_others(tmp_path: Path) -> None:
    assert PipelineConfig().targets == ("caffe2",)
    start = "name: m\nconfig: c.yaml\nweights: w.pkl\ndataset: d\n"
    for said, problem in (
        ("[tensorrt]", "targets.0: input should be 'caffe2'"),
        ("[caffe2, caffe2]", "a target is there twice; name each once"),
        ("[]", "targets: tuple should have at least 1 item"),
    ):
        file = tmp_path / "m.yaml"
        file.write_text(f"{start}targets: {said}\n")
        with pytest.raises(ConfigError) as told:
            load_model(file)
        assert problem in str(told.value)
    file.write_text(f"{start}targets: [onnxruntime, caffe2]\n")
    assert load_model(file).targets == ("onnxruntime", "caffe2")


def test_a_form_offers_the_targets_to_choose_from() -> None:
    class Form(BaseModel):
        targets: list[TargetName]

    assert json.dumps(list(TARGETS)) in json.dumps(Form.model_json_schema())
