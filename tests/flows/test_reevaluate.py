"""A converted model measured again: what the registry holds, beside its original, anew."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.shown import slug
from roastery.project import Project
from roastery.results import FleetSummary, ModelSummary
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig

pytestmark = pytest.mark.xdist_group("flows")

Converted = tuple[PipelineConfig, Any, list[str]]


@pytest.fixture(scope="module")
def alone(
    converted: Converted,
    run_model: Any,
    model: ModelSpec,
    few: DatasetSpec,
    tmp_path_factory: pytest.TempPathFactory,
) -> Converted:
    """The conversion in a registry of its own: in the shared one, other tests file further versions of the model."""
    from roastery.stages.process import InProcess
    from tasks.performer import performing

    database = tmp_path_factory.mktemp("registry") / "mlflow.db"
    pipeline = converted[0].model_copy(update={"tracking_uri": f"sqlite:///{database}"})
    with performing(InProcess()):
        state = run_model(model, few, pipeline)
    assert state.is_completed(), state.message
    return pipeline, state, []


@contextmanager
def registered(models: list[ModelSpec], dataset: DatasetSpec, pipeline: PipelineConfig) -> Iterator[None]:
    from flows.asked import using

    known = {model.name: model for model in models}
    with using(Project(models=known, datasets={dataset.name: dataset}, pipeline=pipeline)):
        yield


def again(model: ModelSpec, dataset: DatasetSpec, pipeline: PipelineConfig) -> Any:
    """The state of a re-evaluation in this process."""
    from flows.reevaluate import reevaluate_model

    with registered([model], dataset, pipeline):
        return reevaluate_model(model.name, return_state=True)


def summary_of(state: Any) -> ModelSummary:
    summary = state.result(raise_on_failure=False)
    assert isinstance(summary, ModelSummary), summary
    return summary


def client_of(pipeline: PipelineConfig) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=pipeline.tracking_uri, registry_uri=pipeline.tracking_uri)


def runs_in(client: Any, pipeline: PipelineConfig) -> list[Any]:
    return list(client.search_runs([client.get_experiment_by_name(pipeline.experiment).experiment_id]))


def aliases_of(client: Any, name: str) -> dict[str, int]:
    # A number or its digits: SQLite's store gives the one, a server the other.
    return {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}


def artifact(key: str, state: Any) -> Any:
    """What a run shows in the UI under that key."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

    run = ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
    with get_client(sync_client=True) as client:
        (found,) = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]), flow_run_id=run)
        )
        return found


def test_it_is_measured_anew_each_time_and_the_verdict_is_filed_with_the_version(
    alone: Converted, model: ModelSpec, few: DatasetSpec, watched: Any
) -> None:
    pipeline = alone[0]
    client, name = client_of(pipeline), f"{model.name}.caffe2"
    before = client.get_model_version(name, "1")
    begun = datetime.now(UTC).replace(microsecond=0)
    runs = {run.info.run_id for run in runs_in(client, pipeline)}
    filed = alone[1].result(raise_on_failure=False).conversion.evaluation.metrics
    for count in (1, 2):
        state = again(model, few, pipeline)
        summary = summary_of(state)
        assert state.is_completed(), state.message
        assert state.message == "as good as when it was filed"
        # Both targets in two shards, however often that was done before; nothing is converted.
        assert watched.counts["predict"] == 4 * count
        assert set(watched.asked) <= {"resolve", "predict", "evaluate"}
        (measured,) = summary.targets
        (figure,) = measured.figures
        assert (figure.original, figure.converted) == (filed["original"]["bbox"]["AP"], filed["torch"]["bbox"]["AP"])
        assert measured.registered is not None
        run = client.get_run(measured.registered.run_id)
        assert run.data.tags["reevaluation_of"] == f"{name} version 1"
        assert run.data.metrics["torch/bbox/AP"] == filed["torch"]["bbox"]["AP"]
        assert len(runs_in(client, pipeline)) == len(runs) + count
        assert measured.registered.run_id not in runs
        assert (measured.registered.version, measured.registered.created) == (1, False)
        shown = artifact(f"reevaluation-{slug(model.name)}", state)
        assert shown.type == "table"
        # Two decimals of each, as the table of a fleet has them.
        (row,) = json.loads(shown.data)
        figures = [f"{filed[target]['bbox']['AP']:.2f}" for target in ("original", "torch")]
        assert [row["figure"], row["original"], row["converted"]] == ["bbox AP", *figures]
        assert f"{name} again: passed" in shown.description
        assert f"[Version 1 of {name}]({measured.registered.run_url})" in shown.description
    after = client.get_model_version(name, "1")
    assert after.tags["reevaluation"] == "passed"
    moment = datetime.fromisoformat(after.tags["reevaluated"])
    assert moment.tzinfo == UTC
    assert begun <= moment <= datetime.now(UTC)
    assert after.tags["verdict"] == before.tags["verdict"]
    assert aliases_of(client, name) == {"candidate": 1}


def test_other_weights_than_the_versions_are_one_line(
    alone: Converted, model: ModelSpec, few: DatasetSpec, watched: Any, tmp_path: Path
) -> None:
    import pickle

    content = pickle.loads(Path(model.weights).read_bytes())
    content["__author__"] = "somebody else"
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content))
    other = model.model_copy(update={"weights": str(tmp_path / "w.pkl")})
    state = again(other, few, alone[0])
    failure = summary_of(state).failure
    assert state.is_failed()
    assert failure is not None
    assert failure.mistake
    assert failure.reason == (
        f"the weights of model {model.name!r} are not those that version 1 was made of; convert it again"
    )


def test_a_model_without_a_converted_version_is_one_line(
    alone: Converted, model: ModelSpec, few: DatasetSpec, watched: Any
) -> None:
    new = model.model_copy(update={"name": "new"})
    failure = summary_of(again(new, few, alone[0])).failure
    assert failure is not None
    assert failure.reason.startswith("model 'new' has no converted version in sqlite:///")
    assert failure.reason.endswith("; convert it first")
    assert failure.mistake


@pytest.mark.parametrize("name", ["model.pb", "model_init.pb"])
@pytest.mark.parametrize("damage", ["changed", "lost"])
def test_files_that_are_not_those_that_were_filed_are_named_and_not_measured(
    alone: Converted, model: ModelSpec, few: DatasetSpec, watched: Any, name: str, damage: str
) -> None:
    version = client_of(alone[0]).get_model_version(f"{model.name}.caffe2", "1")
    net = Path(version.source.removeprefix("file://")) / name
    content = net.read_bytes()
    if damage == "lost":
        net.unlink()
    else:
        net.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        failure = summary_of(again(model, few, alone[0])).failure
    finally:
        net.write_bytes(content)
    assert failure is not None
    assert failure.reason == (
        f"{model.name}: {name} of version 1 in the registry is not the file that was filed; convert the model again"
    )
    assert watched.asked == []
    assert client_of(alone[0]).get_model_version(version.name, "1").tags == version.tags


def test_a_gate_that_fails_today_takes_the_gates_aliases_away_until_it_passes_again(
    alone: Converted, model: ModelSpec, few: DatasetSpec, cut_short: DatasetSpec, watched: Any
) -> None:
    """On images of which one is cut short since the version was filed."""
    client, name = client_of(alone[0]), f"{model.name}.caffe2"
    client.set_registered_model_alias(name, "production", "1")
    try:
        state = again(model, cut_short, alone[0])
        after, held = client.get_model_version(name, "1"), aliases_of(client, name)
    finally:
        whole = again(model, few, alone[0])
        held_again = aliases_of(client, name)
        client.delete_registered_model_alias(name, "production")
    summary = summary_of(state)
    assert state.is_failed()
    assert (summary.ended, summary.failure) == ("failed its gate", None)
    assert "torch: 2 images failed: original: " in str(state.message)
    shown = artifact(f"reevaluation-{slug(model.name)}", state)
    assert shown.type == "table"
    assert f"{name} again: failed its gate" in shown.description
    assert "torch: 2 images failed: original: " in shown.description
    assert (after.tags["reevaluation"], after.tags["verdict"]) == ("failed", "passed")
    # What people call it is theirs.
    assert held == {"production": 1}
    assert whole.is_completed(), whole.message
    assert client.get_model_version(name, "1").tags["reevaluation"] == "passed"
    assert held_again == {"production": 1, "candidate": 1}


def test_a_fleet_leaves_out_what_is_not_converted_and_tells_of_the_rest(
    alone: Converted, model: ModelSpec, few: DatasetSpec
) -> None:
    from flows.reevaluate import reevaluate_fleet

    new = model.model_copy(update={"name": "new"})
    with registered([new, model], few, alone[0]):
        state = reevaluate_fleet(where="this machine", return_state=True)
        nothing = reevaluate_fleet(models=["new"], return_state=True)
    fleet = state.result(raise_on_failure=False)
    assert isinstance(fleet, FleetSummary)
    assert [(each.model, each.ended, each.unchanged) for each in fleet.models] == [(model.name, "passed", False)]
    assert (state.is_completed(), state.message) == (True, "1 passed")
    assert (nothing.is_completed(), nothing.message) == (True, "no converted model to measure")
