"""The flow of many models: each a run of its own, and one model's failure nobody else's."""

import time
from collections.abc import Sequence
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.convert_model import convert_model
from roastery.results import FleetSummary, ModelOutcome
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig


@flow(
    name="convert_fleet",
    flow_run_name="convert a fleet",
    persist_result=True,
    result_serializer="json",
)
def convert_fleet(models: Sequence[ModelSpec], datasets: Sequence[DatasetSpec], pipeline: PipelineConfig) -> State[Any]:
    """Convert models one after another.

    Call it with `return_state=True`: the state's data is a FleetSummary. It is failed, and names them, where models
    were not converted or did not pass their gates.
    """
    known = {dataset.name: dataset for dataset in datasets}
    summary = FleetSummary(outcomes=tuple(_convert(model, known.get(model.dataset), pipeline) for model in models))
    _show(summary)
    if summary.failed:
        return Failed(message=f"failed: {', '.join(summary.failed)}", data=summary)
    return Completed(message=f"{len(summary.outcomes)} converted", data=summary)


def _convert(model: ModelSpec, dataset: DatasetSpec | None, pipeline: PipelineConfig) -> ModelOutcome:
    if dataset is None:
        error = f"model {model.name!r}: dataset: {model.dataset!r} is not registered; add it to configs/datasets"
        return ModelOutcome(model=model.name, error=error, mistake=True, seconds=0.0)
    started = time.perf_counter()
    state = convert_model(model, dataset, pipeline, return_state=True)
    outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, ModelOutcome):
        return outcome
    # A fault of the program, or of Prefect: it is this model's failure all the same.
    error = f"{type(outcome).__name__}: {outcome}" if isinstance(outcome, BaseException) else str(state.message)
    return ModelOutcome(model=model.name, error=" ".join(error.split()), seconds=time.perf_counter() - started)


def _show(summary: FleetSummary) -> None:
    rows = [
        {
            "model": outcome.model,
            "passed": outcome.passed,
            "version": outcome.registered.version if outcome.registered else None,
            "seconds": round(outcome.seconds, 1),
            "error": outcome.error,
        }
        for outcome in summary.outcomes
    ]
    create_table_artifact(rows, key="fleet", description="How each model of the fleet ended.")
