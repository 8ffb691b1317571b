"""The fleet: one model's failure is its own, and the summary and the command say whose it was."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows.convert_fleet import convert_fleet
from roastery.errors import RuntimeFailed
from roastery.results import FleetSummary
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig

pytestmark = pytest.mark.xdist_group("flows")

Converted = tuple[PipelineConfig, Any, list[str]]


def summary_of(state: Any) -> FleetSummary:
    summary = state.result(raise_on_failure=False)
    assert isinstance(summary, FleetSummary), summary
    return summary


def test_a_model_that_fails_does_not_stop_the_next_and_is_named(
    converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any
) -> None:
    broken = model.model_copy(update={"name": "broken", "weights": "/nowhere/w.pkl"})
    state = convert_fleet([broken, model], [few], converted[0], return_state=True)
    summary = summary_of(state)
    assert [(outcome.model, outcome.passed) for outcome in summary.outcomes] == [
        ("broken", False),
        (model.name, True),
    ]
    assert state.is_failed()
    assert state.message == "failed: broken"


def test_a_fault_of_the_program_is_that_models_failure_alone(
    converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any
) -> None:
    watched.faults = {"resolve": [ZeroDivisionError("division by zero")]}
    odd = model.model_copy(update={"name": "odd", "overrides": ("MODEL.DEVICE", "cuda")})
    summary = summary_of(convert_fleet([odd, model], [few], converted[0], return_state=True))
    assert summary.failed == ("odd",)
    failure = summary.outcomes[0].failure
    assert failure is not None
    assert (failure.stage, failure.reason) == ("resolve", "ZeroDivisionError: division by zero")
    assert not failure.mistake
    assert watched.asked.count("resolve") == 1, "not worth a retry"


def test_a_dataset_that_is_not_registered_is_that_models_mistake(
    converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any
) -> None:
    lost = model.model_copy(update={"dataset": "other"})
    (outcome,) = summary_of(convert_fleet([lost], [few], converted[0], return_state=True)).outcomes
    assert outcome.failure is not None
    assert outcome.failure.mistake
    assert outcome.failure.reason == "dataset: 'other' is not registered; add it to configs/datasets"


@pytest.fixture
def project(model: ModelSpec, few: DatasetSpec, converted: Converted, tmp_path: Path, watched: Any) -> Path:
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


def test_run_ends_with_1_where_a_conversion_fails(
    project: Path, model: ModelSpec, watched: Any, tmp_path: Path
) -> None:
    watched.faults = {"resolve": [RuntimeFailed("the worker died")] * 9}
    done = run("--models", str(project / "models"), "--store", str(tmp_path / "empty"))
    assert done.exit_code == 1
    assert f"{model.name}: failed in resolve: the worker died" in done.output
