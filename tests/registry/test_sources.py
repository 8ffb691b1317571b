"""Trained detectors in the registry: known by their bytes, and taken out again as they went in."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from roastery.checkpoint import load_checkpoint
from roastery.digest import file_sha256
from roastery.errors import ConfigError, RegistryDamaged, RegistryRefused
from roastery.registry.catalog import Catalog
from roastery.registry.sources import download_source, newest_sources, register_source, source_spec
from roastery.spec import ExportSpec, GateSpec, ModelSpec
from roastery.stages.resolve import config_sha256


@pytest.fixture
def spec(box_model: Path, tmp_path: Path) -> ModelSpec:
    """A demo model under a name of its own, whose files may be changed."""
    shutil.copytree(box_model, tmp_path / "trained")
    return ModelSpec(
        name="street_signs",
        config=tmp_path / "trained" / "config.yaml",
        weights=str(tmp_path / "trained" / "model_final.pkl"),
        dataset="few",
        tags=("team=vision", "r50"),
        export=ExportSpec(batch=2),
        gate=GateSpec(max_ap_delta=0.5),
    )


def tags_of(catalog: Catalog, version: int = 1) -> dict[str, str]:
    return dict(catalog.client.get_model_version("street_signs", str(version)).tags)


def retrained(spec: ModelSpec) -> ModelSpec:
    """The same model with one weight changed."""
    path = Path(spec.weights)
    content = pickle.loads(path.read_bytes())
    next(iter(content["model"].values())).flat[0] += 1
    path.write_bytes(pickle.dumps(content))
    return spec


def test_a_source_is_a_version_with_its_config_its_checkpoint_and_its_tensors(
    catalog: Catalog, spec: ModelSpec, tmp_path: Path
) -> None:
    registered = register_source(catalog, spec, {"bbox/AP": 41.5})

    assert (registered.name, registered.version, registered.created) == ("street_signs", 1, True)
    tags = tags_of(catalog)
    assert tags["source_sha256"] == file_sha256(Path(spec.weights)) == registered.source_sha256
    assert tags["config_sha256"] == config_sha256(spec)
    assert (tags["dataset"], tags["family"], tags["checkpoint"]) == ("few", "GeneralizedRCNN", "model_final.pkl")
    assert {name for name in tags if name.startswith("tag.")} == {"tag.r50", "tag.team_vision"}
    model = catalog.client.get_logged_model(tags["model_id"])
    assert [(point.key, point.value) for point in model.metrics] == [("bbox/AP", 41.5)]
    (folder,) = tmp_path.glob("mlartifacts/**/artifacts")
    names = {"MLmodel", "config.yaml", "model_final.pkl", "weights.safetensors"}
    assert {path.name for path in folder.iterdir()} == names
    kept, original = load_file(folder / "weights.safetensors"), load_checkpoint(spec.weights)
    assert kept.keys() == original.keys()
    assert all(np.array_equal(kept[name], original[name].numpy()) for name in kept)


def test_the_same_bytes_are_the_same_version_and_others_the_next(catalog: Catalog, spec: ModelSpec) -> None:
    first = register_source(catalog, spec)
    again = register_source(catalog, spec)
    assert again == first.model_copy(update={"created": False})

    other = register_source(catalog, retrained(spec))

    assert (other.version, other.created) == (2, True)
    assert register_source(catalog, spec).version == 2
    assert newest_sources(catalog)["street_signs"].version == 2


def test_what_is_said_of_a_source_may_change_without_another_version(catalog: Catalog, spec: ModelSpec) -> None:
    register_source(catalog, spec)
    changed = spec.model_copy(update={"dataset": "many", "tags": ("r50", "old")})

    assert register_source(catalog, changed).version == 1

    tags = tags_of(catalog)
    assert tags["dataset"] == "many"
    assert {name for name in tags if name.startswith("tag.")} == {"tag.r50", "tag.old"}
    assert source_spec(catalog, "models:/street_signs/1").tags == ("r50", "old")


@pytest.mark.parametrize("reference", ["models:/street_signs/1", "models:/street_signs@trusted"])
def test_a_source_comes_back_by_its_number_or_its_alias_as_it_was_said(
    catalog: Catalog, spec: ModelSpec, tmp_path: Path, reference: str
) -> None:
    register_source(catalog, spec)
    catalog.client.set_registered_model_alias("street_signs", "trusted", "1")

    said = source_spec(catalog, reference)
    (tmp_path / "out").mkdir()
    config, checkpoint = download_source(catalog, said.weights, tmp_path / "out")

    assert said.weights == "models:/street_signs/1"
    kept = ("name", "dataset", "tags", "export", "gate", "runtimes")
    assert [getattr(said, name) for name in kept] == [getattr(spec, name) for name in kept]
    assert checkpoint.read_bytes() == Path(spec.weights).read_bytes()
    local = said.model_copy(update={"config": config, "weights": str(checkpoint)})
    # The config is whole, and still the same when it is read again.
    assert config_sha256(local) == said.config_sha256 == config_sha256(spec)


def test_overrides_are_in_the_config_that_is_registered(catalog: Catalog, spec: ModelSpec, tmp_path: Path) -> None:
    plain = register_source(catalog, spec)
    stricter = spec.model_copy(update={"overrides": ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.3")})

    other = register_source(catalog, stricter)

    assert (plain.version, other.version) == (1, 2)
    config, _ = download_source(catalog, "models:/street_signs/2", tmp_path)
    assert "SCORE_THRESH_TEST: 0.3" in config.read_text()


@pytest.mark.parametrize("file", ["config.yaml", "model_final.pkl"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_files_that_are_not_those_that_were_registered_are_refused(
    catalog: Catalog, spec: ModelSpec, tmp_path: Path, file: str, damage: str
) -> None:
    register_source(catalog, spec)
    (path,) = tmp_path.glob(f"mlartifacts/**/artifacts/{file}")
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes() + b"x")
    (tmp_path / "out").mkdir()

    with pytest.raises(RegistryDamaged, match=f"{file} in the registry is not the file that was registered"):
        download_source(catalog, "models:/street_signs/1", tmp_path / "out")

    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("tag", ["../config.yaml", "/etc/passwd", "", "MLmodel/../../x"])
def test_a_checkpoints_name_leads_nowhere_else(catalog: Catalog, spec: ModelSpec, tmp_path: Path, tag: str) -> None:
    register_source(catalog, spec)
    catalog.client.set_model_version_tag("street_signs", "1", "checkpoint", tag)
    (tmp_path / "out").mkdir()

    with pytest.raises(RegistryDamaged, match="not the file that was registered"):
        download_source(catalog, "models:/street_signs/1", tmp_path / "out")


@pytest.mark.parametrize("said", ["", "[]", "{", '{"dataset": "../x"}', '{"dataset": "few", "gate": {"max": 1}}', "7"])
def test_tags_that_say_nothing_sensible_are_one_line(catalog: Catalog, spec: ModelSpec, said: str) -> None:
    register_source(catalog, spec)
    catalog.client.set_model_version_tag("street_signs", "1", "spec", said)

    with pytest.raises(RegistryDamaged, match="models:/street_signs/1: was not registered by Roastery"):
        source_spec(catalog, "models:/street_signs/1")


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("models:/street_signs/7", "there is no such version"),
        ("models:/street_signs@nobody", "there is no such version"),
        ("models:/nobody/1", "there is no such version"),
        ("models:/street_signs", "is no registered model"),
        ("models:/street_signs/latest", "is no registered model"),
    ],
)
def test_a_reference_to_nothing_is_the_users_to_mend(
    catalog: Catalog, spec: ModelSpec, reference: str, told: str
) -> None:
    register_source(catalog, spec)

    with pytest.raises(ConfigError, match=told):
        source_spec(catalog, reference)


def test_a_name_of_converted_models_is_refused(catalog: Catalog, spec: ModelSpec) -> None:
    with pytest.raises(ConfigError, match="is what converted models end with"):
        register_source(catalog, spec.model_copy(update={"name": "street_signs.caffe2"}))


def test_a_checkpoint_that_cannot_be_read_leaves_no_version(catalog: Catalog, spec: ModelSpec) -> None:
    Path(spec.weights).write_bytes(b"no pickle")

    with pytest.raises(Exception, match=r"model_final\.pkl"):
        register_source(catalog, spec)

    assert newest_sources(catalog) == {}


def test_a_conversion_of_a_registered_source_has_it_as_its_input(
    catalog: Catalog, spec: ModelSpec, make_conversion, files
) -> None:
    registered = register_source(catalog, spec)
    conversion = make_conversion(name="street_signs")
    made_of = {name: getattr(registered, name) for name in ("source_sha256", "config_sha256")}
    conversion = conversion.model_copy(update={"resolved": conversion.resolved.model_copy(update=made_of)})

    filed = catalog.log(conversion, files)

    (source,) = catalog.client.get_run(filed.run_id).inputs.model_inputs
    assert source.model_id == tags_of(catalog)["model_id"]
    assert catalog.client.get_model_version(filed.name, "1").tags["source_version"] == "1"


@pytest.mark.parametrize("step", ["log_batch", "log_model_artifacts", "create_model_version", "set_terminated"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fault_at_any_step_ends_in_one_version_when_it_is_registered_again(
    catalog: Catalog, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    genuine = getattr(catalog.client, step)

    def fail(*args, **kwargs):
        if when == "after":
            genuine(*args, **kwargs)
        raise MlflowException("injected fault", error_code=INVALID_PARAMETER_VALUE)

    with monkeypatch.context() as faulty:
        faulty.setattr(catalog.client, step, fail)
        with pytest.raises(RegistryRefused, match="injected"):
            register_source(catalog, spec)

    registered = register_source(catalog, spec, {"bbox/AP": 41.5})

    assert registered.version == 1
    assert len(catalog.client.search_model_versions("name = 'street_signs'")) == 1
    assert len(catalog.client.search_logged_models(["1"])) == 1
