"""The fleet: each model a run and a process of its own, one model's failure its own, and told whose it was."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from roastery.project import Project
from roastery.results import FleetSummary
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig

pytestmark = pytest.mark.xdist_group("flows")

Converted = tuple[PipelineConfig, Any, list[str]]


def fleet(registered: list[ModelSpec], dataset: DatasetSpec, pipeline: PipelineConfig, **asked: Any) -> Any:
    """The fleet's state."""
    from flows.asked import using
    from flows.convert_fleet import convert_fleet

    known = {model.name: model for model in registered}
    project = Project(models=known, datasets={dataset.name: dataset}, pipeline=pipeline)
    with using(project):
        return convert_fleet(**({"models": list(known), "only": "all"} | asked), return_state=True)


def summary_of(state: Any) -> FleetSummary:
    summary = state.result(raise_on_failure=False)
    assert isinstance(summary, FleetSummary), summary
    return summary


def test_models_that_fail_are_named_with_their_reasons_and_what_is_unchanged_is_not_run(
    converted: Converted, model: ModelSpec, few: DatasetSpec
) -> None:
    broken = model.model_copy(update={"name": "broken", "weights": "/nowhere/w.pkl"})
    lost = model.model_copy(update={"name": "lost", "dataset": "other"})
    state = fleet([broken, model, lost], few, converted[0])
    first, second, third = summary_of(state).models
    assert [(each.model, each.ended) for each in (first, second, third)] == [
        ("broken", "failed"),
        (model.name, "passed"),
        ("lost", "failed"),
    ]
    assert first.failure is not None
    assert (first.failure.stage, first.failure.mistake) == ("resolve", True)
    assert first.failure.reason.startswith("/nowhere/w.pkl: no such checkpoint")
    assert second.unchanged
    (filed,) = second.targets
    assert filed.registered is not None
    assert filed.registered.version == 1
    assert third.failure is not None
    assert third.failure.reason.startswith("dataset: 'other' is not registered; add it to configs/datasets as YAML")
    assert state.is_failed()
    assert state.message == "2 of 3 failed: broken, lost"


def test_each_model_is_a_run_under_the_fleets(converted: Converted, model: ModelSpec, few: DatasetSpec) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId

    broken = model.model_copy(update={"name": "broken", "weights": "/nowhere/w.pkl"})
    state = fleet([broken, model], few, converted[0], max_ap_delta=0.05)
    with get_client(sync_client=True) as client:
        parent = state.state_details.flow_run_id
        wanted = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]))
        (run,) = client.read_flow_runs(flow_run_filter=wanted)
        assert client.read_flow_run(parent).name == "convert all models"
    assert run.name == "convert broken"
    assert run.state.is_failed()
    assert run.state.message.startswith("resolve: /nowhere/w.pkl: no such checkpoint")
    assert run.parameters["model"] == "broken"
    assert run.parameters["max_ap_delta"] == 0.05
    assert "/nowhere" not in json.dumps(run.parameters), "parameters are names and figures"


def test_a_model_over_its_time_is_stopped_and_told(
    converted: Converted, model: ModelSpec, few: DatasetSpec, tmp_path: Path
) -> None:
    timeouts = converted[0].timeouts.model_copy(update={"model": 1.0})
    hasty = converted[0].model_copy(update={"timeouts": timeouts, "store": str(tmp_path / "store")})
    (outcome,) = summary_of(fleet([model], few, hasty)).models
    assert outcome.ended == "timed out"
    assert outcome.failure is not None
    assert outcome.failure.reason == f"the process of {model.name} did not answer within 1 s and was killed"


def test_the_table_says_of_each_model_what_became_of_it(
    converted: Converted, model: ModelSpec, few: DatasetSpec
) -> None:
    broken = model.model_copy(update={"name": "broken", "weights": "/nowhere/w.pkl"})
    state = fleet([broken, model], few, converted[0])
    table = shown("fleet", state.state_details.flow_run_id)
    assert table.description == "1 of 2 models passed."
    bad, good = json.loads(table.data)
    assert list(bad) == [
        *("model", "target", "figure", "AP original", "AP converted", "difference", "verdict", "seconds", "version"),
        *("link", "reason"),
    ]
    assert (bad["model"], bad["verdict"], bad["AP original"]) == ("broken", "failed in resolve", None)
    assert bad["link"].endswith("/failures/broken/resolve`")
    conversion = converted[1].result(raise_on_failure=False).conversion
    before, after = (conversion.evaluation.metrics[target]["bbox"]["AP"] for target in ("original", "torch"))
    assert (good["AP original"], good["AP converted"]) == (round(before, 2), round(after, 2))
    assert (good["verdict"], good["seconds"], good["version"]) == ("passed (torch)", "unchanged", 1)
    progress = shown("progress-fleet", state.state_details.flow_run_id)
    assert (progress.data, progress.description) == (100.0, "2 of 2 models, 1 failed; last broken")


def shown(key: str, run: Any) -> Any:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
        return artifact


def test_what_is_selected_is_decided_before_anything_runs(
    converted: Converted, model: ModelSpec, few: DatasetSpec
) -> None:
    new = model.model_copy(update={"name": "new", "weights": "/nowhere/w.pkl"})
    assert [each.model for each in summary_of(fleet([new, model], few, converted[0], only="new")).models] == ["new"]
    state = fleet([model], few, converted[0], only="new or changed")
    assert (state.is_completed(), state.message, summary_of(state).models) == (True, "nothing to convert", ())
    state = fleet([model], few, converted[0], models=["mask*"])
    assert state.is_failed()
    assert "no model 'mask*' is registered" in str(state.message)


def test_workers_that_are_not_there_are_one_line(converted: Converted, model: ModelSpec, few: DatasetSpec) -> None:
    broken = model.model_copy(update={"name": "broken", "weights": "/nowhere/w.pkl"})
    state = fleet([broken], few, converted[0], where="workers")
    assert state.is_failed()
    assert "there is no deployment convert_model/convert-model; deploy it, or choose `this machine`" in state.message


@pytest.fixture
def project(model: ModelSpec, few: DatasetSpec, converted: Converted, tmp_path: Path) -> Path:
    """A project's configs, over the store of the cold conversion."""
    configs = tmp_path / "configs"
    for kind, specs in {"models": [model], "datasets": [few]}.items():
        (configs / kind).mkdir(parents=True)
        for spec in specs:
            content = spec.model_dump(mode="json", exclude_none=True)
            (configs / kind / f"{spec.name}.yaml").write_text(yaml.safe_dump(content))
    (configs / "pipeline.yaml").write_text(yaml.safe_dump(converted[0].model_dump(mode="json")))
    return configs


def run(*arguments: str) -> Any:
    from cli.main import app

    return CliRunner().invoke(app, ["run", *arguments], env={"COLUMNS": "200"})


def test_run_prints_the_table_and_where_things_lie(project: Path, model: ModelSpec, converted: Converted) -> None:
    done = run("--models", str(project / "models"))
    assert done.exit_code == 0, done.output
    for said in (
        model.name,
        "bbox",
        "passed (torch)",
        f"{model.name}.caffe2 version 1, candidate",
        "unchanged",
        "mlflow.db",
    ):
        assert said in done.output
    report = next(line for line in done.output.splitlines() if "report:" in line).split()[-1]
    assert Path(report).is_file()


def test_run_ends_with_2_for_a_mistake_and_converts_the_others(project: Path, model: ModelSpec) -> None:
    good = project / "models" / f"{model.name}.yaml"
    broken = yaml.safe_load(good.read_text()) | {"name": "broken", "weights": "/nowhere/w.pkl"}
    (project / "models" / "broken.yaml").write_text(yaml.safe_dump(broken))
    done = run("--models", str(project / "models"))
    assert done.exit_code == 2
    assert "broken: failed in resolve: /nowhere/w.pkl: no such checkpoint" in done.output
    assert "passed (torch)" in done.output


def test_run_ends_with_1_where_a_conversion_fails(project: Path, model: ModelSpec, tmp_path: Path) -> None:
    pipeline = yaml.safe_load((project / "pipeline.yaml").read_text())
    pipeline["timeouts"]["resolve"] = 0.01
    pipeline["retries"] = {"times": 1, "delay": 0.0, "jitter": 0.0}
    (project / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
    done = run("--models", str(project / "models"), "--store", str(tmp_path / "empty"))
    assert done.exit_code == 1, done.output
    assert f"{model.name}: failed in resolve: " in done.output
    assert "did not answer within 0.01 s" in done.output
