"""Specs: what is registered, where its paths start, and what a mistake in it says."""

import os
from pathlib import Path

import pytest

from roastery.errors import ConfigError
from roastery.spec import GateSpec, load_datasets, load_models, load_pipeline, project_root

MODEL = "name: a\nconfig: models/a/config.yaml\nweights: models/a/model.pkl\ndataset: d\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_models_paths_start_at_the_folder_over_configs(tmp_path: Path) -> None:
    write(tmp_path / "configs" / "models" / "a.yaml", MODEL)
    (model,) = load_models(tmp_path / "configs" / "models").values()
    assert model.config == tmp_path / "models/a/config.yaml"
    assert model.weights == str(tmp_path / "models/a/model.pkl")


def test_without_a_configs_folder_paths_start_beside_the_yaml(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "a.yaml", MODEL)
    assert load_models(tmp_path / "mine")["a"].config == tmp_path / "mine" / "models/a/config.yaml"
    assert project_root(tmp_path / "mine" / "a.yaml") == tmp_path / "mine"


def test_absolute_paths_and_uris_stay(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "name: a\nconfig: /c.yaml\nweights: s3://bucket/w.pkl\ndataset: d\n")
    model = load_models(tmp_path)["a"]
    assert (model.config, model.weights) == (Path("/c.yaml"), "s3://bucket/w.pkl")


def test_datasets_sample_from_themselves_unless_told(tmp_path: Path) -> None:
    write(tmp_path / "d.yaml", "name: d\nimages: images\nannotations: a.json\n")
    dataset = load_datasets(tmp_path)["d"]
    assert dataset.sampled_from == (tmp_path / "images", tmp_path / "a.json")


def test_a_users_default_gate_is_parity_and_a_tenth_of_ap_both_ways(tmp_path: Path) -> None:
    gate = load_pipeline(write(tmp_path / "p.yaml", "")).gate
    assert gate == GateSpec(max_ap_delta=0.1, two_sided=True, require_parity=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: ../a\nconfig: c\nweights: w\ndataset: d\n", "name: string should match pattern"),
        ("name: a\nconfig: c\nweights: w\n", "dataset: is missing"),
        (MODEL + "wieghts: w\n", "wieghts: unknown key; a ModelSpec has name, config, weights"),
        (MODEL + "runtimes: onnx\n", "runtimes: input should be 'torch', 'caffe2', 'both' or 'auto', not 'onnx'"),
        (MODEL + "gate: {max_ap_delta: -1}\n", "gate.max_ap_delta"),
        ("- a\n", "not a mapping"),
        ("name: [\n", "not YAML"),
        ("name: !!python/object/apply:os.system ['true']\n", "not YAML"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    file = write(tmp_path / "a.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_models(tmp_path)
    message = str(caught.value)
    assert said in message
    assert message.startswith(str(file))
    assert "\n" not in message


def test_a_name_that_is_there_twice_names_both_files(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", MODEL)
    write(tmp_path / "b.yaml", MODEL)
    with pytest.raises(ConfigError, match=r"b\.yaml: name: 'a' is registered in .*a\.yaml too"):
        load_models(tmp_path)


def test_a_folder_that_is_missing_or_empty_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        load_models(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="holds no YAML; register a model"):
        load_models(tmp_path)
    with pytest.raises(ConfigError, match=r"p\.yaml: cannot be read"):
        load_pipeline(tmp_path / "p.yaml")


def test_the_demo_zoo_is_registered_and_there(shapes: Path) -> None:
    configs = shapes.parent.parent / "configs"
    models, datasets = load_models(configs / "models"), load_datasets(configs / "datasets")
    found = {file.parent.name for file in shapes.glob("*/config.yaml")}
    assert len(found) >= 2
    assert found <= set(models)
    for model in models.values():
        assert model.config.is_file()
        assert Path(model.weights).is_file()
        assert datasets[model.dataset].annotations.is_file()
    assert load_pipeline(configs / "pipeline.yaml").gate.max_ap_delta == 0.05


def test_a_spec_that_grows_when_it_is_read_or_never_ends_is_refused(tmp_path: Path) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "bomb.yaml").write_text("\n".join(["a0: &a0 [x]", *levels]))
    with pytest.raises(ConfigError, match="expands to more than"):
        load_pipeline(tmp_path / "bomb.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match="Is a pipe"):
        load_pipeline(tmp_path / "pipe.yaml")


def test_a_path_from_a_home_that_is_not_there_stays_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", MODEL.replace("models/a/model.pkl", "~nobody-of-that-name/a.pkl"))
    assert load_models(tmp_path)["a"].weights == str(tmp_path / "~nobody-of-that-name/a.pkl")
