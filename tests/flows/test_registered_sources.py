"""Sources in the registry, converted from there: by number, by alias, by glob, and as a model's weights."""

from pathlib import Path
from typing import Any

import pytest

from roastery.project import Project
from roastery.registry.catalog import Catalog
from roastery.registry.sources import register_source
from roastery.results import FleetSummary, ModelOutcome
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig

pytestmark = pytest.mark.xdist_group("flows")

Converted = tuple[PipelineConfig, Any, list[str]]


@pytest.fixture(scope="module")
def pipeline(converted: Converted, model: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    """The store of the first conversion, and a registry of its own that holds the source alone."""
    database = tmp_path_factory.mktemp("registry") / "mlflow.db"
    pipeline = converted[0].model_copy(update={"tracking_uri": f"sqlite:///{database}"})
    catalog = catalog_of(pipeline)
    register_source(catalog, model)
    catalog.client.set_registered_model_alias(model.name, "trusted", "1")
    return pipeline


def catalog_of(pipeline: PipelineConfig) -> Catalog:
    return Catalog(pipeline.tracking_uri, pipeline.experiment)


def project_of(few: DatasetSpec, pipeline: PipelineConfig, *models: ModelSpec) -> Project:
    return Project(models={each.name: each for each in models}, datasets={few.name: few}, pipeline=pipeline)


def outcome_of(asked: str, project: Project) -> ModelOutcome:
    from flows.asked import using
    from flows.convert_model import convert_model

    with using(project):
        outcome = convert_model(asked, return_state=True).result(raise_on_failure=False)
    assert isinstance(outcome, ModelOutcome), outcome
    return outcome


def fleet_of(asked: list[str], project: Project, **parameters: Any) -> FleetSummary:
    from flows.asked import using
    from flows.convert_fleet import convert_fleet

    with using(project):
        state = convert_fleet(asked, where="this machine", return_state=True, **parameters)
    summary = state.result(raise_on_failure=False)
    assert isinstance(summary, FleetSummary), summary
    return summary


@pytest.mark.parametrize("reference", ["models:/{}/1", "models:/{}@trusted"])
def test_a_registered_source_is_converted_as_the_files_that_it_was_registered_from(
    pipeline: PipelineConfig, converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any, reference: str
) -> None:
    outcome = outcome_of(reference.format(model.name), project_of(few, pipeline))

    assert outcome.failure is None
    assert outcome.conversion is not None
    assert outcome.registered is not None
    first = converted[1].result(raise_on_failure=False).conversion
    # The same bytes: every stage is found, and the version is the same however it is asked for.
    assert outcome.conversion.key == first.key
    assert watched.asked == []
    assert (outcome.model, outcome.registered.name) == (model.name, f"{model.name}.caffe2")
    assert outcome.registered.version == 1
    client = catalog_of(pipeline).client
    (source,) = client.get_run(outcome.registered.run_id).inputs.model_inputs
    assert source.model_id == client.get_model_version(model.name, "1").tags["model_id"]


def test_a_models_weights_may_be_a_registered_source(
    pipeline: PipelineConfig, converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any
) -> None:
    spec = ModelSpec(name="from_registry", weights=f"models:/{model.name}@trusted", dataset="few", runtimes="torch")

    outcome = outcome_of("from_registry", project_of(few, pipeline, spec))

    assert outcome.passed
    assert outcome.conversion is not None
    assert outcome.conversion.resolved.source_sha256 == converted[1].result().conversion.resolved.source_sha256
    # A model of another name is judged for itself; nothing is converted or detected anew.
    assert set(watched.asked) <= {"evaluate", "report"}


def test_a_fleet_takes_references_and_globs_and_leaves_alone_what_is_unchanged(
    pipeline: PipelineConfig, model: ModelSpec, few: DatasetSpec
) -> None:
    project = project_of(few, pipeline)
    for asked in ([f"models:/{model.name}/1"], [f"models:/{model.name[:3]}*"]):
        (told,) = fleet_of(asked, project, only="all").models
        assert (told.model, told.ended) == (model.name, "passed")
    assert told.unchanged
    (filed,) = told.targets
    assert filed.registered is not None
    assert filed.registered.version == 1
    # And of those that the registry holds none is new.
    assert fleet_of([f"models:/{model.name}/1"], project, only="new or changed").models == ()


def test_registered_and_not_yet_converted_is_a_question_and_a_fleet(
    pipeline: PipelineConfig, model: ModelSpec, few: DatasetSpec, tmp_path: Path
) -> None:
    from roastery.registry.registry import Registry

    own = pipeline.model_copy(update={"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"})
    register_source(catalog_of(own), model)
    registry = Registry(own.tracking_uri, own.experiment)
    assert [each.model for each in registry.models(unconverted=True)] == [model.name]

    (told,) = fleet_of(["models:/*"], project_of(few, own), only="new").models

    assert told.ended == "passed"
    assert registry.models(unconverted=True) == []


def test_a_source_whose_files_were_changed_in_the_registry_fails_with_one_line(
    pipeline: PipelineConfig, model: ModelSpec, few: DatasetSpec, tmp_path: Path
) -> None:
    own = pipeline.model_copy(
        update={"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db", "store": str(tmp_path / "store")}
    )
    register_source(catalog_of(own), model)
    (checkpoint,) = tmp_path.glob("mlartifacts/**/*.pkl")
    checkpoint.write_bytes(checkpoint.read_bytes() + b"x")

    failure = outcome_of(f"models:/{model.name}/1", project_of(few, own)).failure

    assert failure is not None
    assert failure.stage == "recall"
    assert f"{checkpoint.name} in the registry is not the file that was registered" in failure.reason
    assert "\n" not in failure.reason


@pytest.mark.parametrize("asked", ["models:/nobody/1", "models:/nobody*", "models:/x"])
def test_a_reference_to_nothing_ends_a_fleet_before_it_begins(
    pipeline: PipelineConfig, few: DatasetSpec, asked: str
) -> None:
    from flows.asked import using
    from flows.convert_fleet import convert_fleet
    from roastery.errors import ConfigError

    with using(project_of(few, pipeline)):
        state = convert_fleet([asked], return_state=True)

    with pytest.raises(ConfigError, match=r"models:/"):
        state.result()


def test_two_sources_of_one_name_are_not_both_asked_for(
    pipeline: PipelineConfig, model: ModelSpec, few: DatasetSpec
) -> None:
    from flows.asked import using
    from flows.convert_fleet import convert_fleet
    from roastery.errors import ConfigError

    with using(project_of(few, pipeline, model)):
        state = convert_fleet([model.name, f"models:/{model.name}/1"], only="all", return_state=True)

    with pytest.raises(ConfigError, match="are both named"):
        state.result()
