"""The flow of many models: each a run of its own, and one model's failure nobody else's."""

import time
from collections.abc import Sequence
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.convert_model import convert_model
from flows.shown import show_fleet
from roastery.results import FleetSummary, ModelOutcome, StageFailure
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig
from roastery.stages.failure import reason_of


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
    show_fleet(summary)
    if summary.failed:
        return Failed(message=f"failed: {', '.join(summary.failed)}", data=summary)
    return Completed(message=f"{len(summary.outcomes)} converted", data=summary)


def _convert(model: ModelSpec, dataset: DatasetSpec | None, pipeline: PipelineConfig) -> ModelOutcome:
    if dataset is None:
        reason = f"dataset: {model.dataset!r} is not registered; add it to configs/datasets"
        return _failed(model, reason, 0.0, mistake=True)
    started = time.perf_counter()
    state = convert_model(model, dataset, pipeline, return_state=True)
    outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, ModelOutcome):
        return outcome
    # A fault of Prefect: it is this model's failure all the same.
    reason = reason_of(outcome) if isinstance(outcome, BaseException) else " ".join(str(state.message).split())
    return _failed(model, reason, time.perf_counter() - started)


def _failed(model: ModelSpec, reason: str, seconds: float, mistake: bool = False) -> ModelOutcome:
    failure = StageFailure(stage="flow", reason=reason, mistake=mistake)
    return ModelOutcome(model=model.name, failure=failure, seconds=seconds)
