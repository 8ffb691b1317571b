"""A project: one folder of configs."""

import shutil
from pathlib import Path

import pytest

from roastery.errors import ConfigError
from roastery.project import Project, load_project


def test_a_folder_of_configs_is_a_project(configs: Path) -> None:
    project = load_project(configs)
    assert list(project.models) == ["boxes"]
    assert project.dataset_of(project.model("boxes")).name == "few"
    assert project.pipeline.shards == 2
    assert Project.model_validate_json(project.model_dump_json()) == project


def test_what_is_not_registered_is_one_line(configs: Path) -> None:
    project = load_project(configs)
    with pytest.raises(ConfigError, match="no model 'masks' is registered; add it to configs/models"):
        project.model("masks")
    lost = project.model("boxes").model_copy(update={"dataset": "other"})
    with pytest.raises(ConfigError) as raised:
        project.dataset_of(lost)
    assert str(raised.value) == (
        "dataset: 'other' is not registered; add it to configs/datasets as YAML with name, images and annotations, or "
        "name one of detectron2's"
    )


def test_one_of_detectron2s_datasets_needs_no_yaml_and_gives_way_to_one_that_has(
    configs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    project = load_project(configs)
    model = project.model("boxes").model_copy(update={"dataset": "coco_2017_val"})
    assert project.dataset_of(model).annotations == tmp_path / "coco/annotations/instances_val2017.json"
    own = project.datasets["few"].model_copy(update={"name": "coco_2017_val"})
    registered = project.model_copy(update={"datasets": {"coco_2017_val": own}})
    assert registered.dataset_of(model) == own
    wrong = model.model_copy(update={"dataset": "coco_2017_vall"})
    with pytest.raises(ConfigError, match=r"or name one of detectron2's; near it are coco_2017_val, "):
        project.dataset_of(wrong)


def test_asked_targets_go_over_every_models_own_and_are_those_of_sources_that_are_added_later(configs: Path) -> None:
    project = load_project(configs)
    own = project.model("boxes").model_copy(update={"targets": ("caffe2",)})
    project = project.model_copy(update={"models": {"boxes": own}})
    assert project.converted_to([]) == project
    asked = project.converted_to(["onnxruntime"])
    # A source in the registry names no targets, and takes the pipeline's.
    assert (asked.model("boxes").targets, asked.pipeline.targets) == (None, ("onnxruntime",))
    with pytest.raises(ConfigError, match="caffe2, caffe2: a target is there twice; name each once"):
        project.converted_to(["caffe2", "caffe2"])


def test_a_project_that_registers_no_dataset_has_detectron2s(configs: Path, tmp_path: Path) -> None:
    own = shutil.copytree(configs, tmp_path / "configs")
    for file in (own / "datasets").iterdir():
        file.unlink()
    assert load_project(own).datasets == {}
    (own / "datasets").rmdir()
    project = load_project(own)
    model = project.model("boxes").model_copy(update={"dataset": "voc_2007_test"})
    assert project.dataset_of(model).format == "pascal_voc"


def test_a_models_own_process_is_told_of_it_alone(configs: Path) -> None:
    project = load_project(configs)
    more = project.model_copy(
        update={"models": project.models | {"other": project.models["boxes"].model_copy(update={"name": "other"})}}
    )
    assert more.only("other").models == {"other": more.models["other"]}
    assert more.only("other").datasets == project.datasets


def test_the_environment_goes_over_the_files_places(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROASTERY_STORE", "s3://bucket/models")
    monkeypatch.setenv("ROASTERY_TRACKING_URI", "http://127.0.0.1:5000")
    pipeline = load_project(configs).pipeline
    assert (pipeline.store, pipeline.tracking_uri) == ("s3://bucket/models", "http://127.0.0.1:5000")
    monkeypatch.setenv("ROASTERY_TRACKING_URI", "http://user:planted@127.0.0.1:5000")
    with pytest.raises(ConfigError, match="tracking_uri: holds a password") as told:
        load_project(configs)
    assert "planted" not in str(told.value)


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "PYTHONPATH", "PATH", "OMP_NUM_THREADS", "aws_secret", "AWS_"])
def test_only_what_libraries_read_secrets_from_is_set_from_blocks(variable: str) -> None:
    from pydantic import ValidationError

    from roastery.spec import PipelineConfig

    assert PipelineConfig(secrets={"PGPASSWORD": "a-block"}).secrets == {"PGPASSWORD": "a-block"}
    with pytest.raises(ValidationError):
        PipelineConfig(secrets={variable: "a-block"})


@pytest.mark.parametrize("secrets", ["{PGPASSWORD: 'Planted secret!'}", "'Planted secret!'", "{PGPASSWORD: [Planted]}"])
def test_a_secret_that_stands_where_its_block_belongs_is_not_told(tmp_path: Path, secrets: str) -> None:
    from roastery.spec import load_pipeline

    (tmp_path / "p.yaml").write_text(f"secrets: {secrets}\n")
    with pytest.raises(ConfigError, match="is not the name of a Prefect Secret block") as told:
        load_pipeline(tmp_path / "p.yaml")
    assert "Planted" not in str(told.value)
