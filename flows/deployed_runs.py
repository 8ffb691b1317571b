"""A fleet's models on the workers of a deployment: a run of it each, wherever its worker is."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, cast
from uuid import UUID

import prefect.runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import DeploymentStatus, FlowRun, State, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from flows.fan_out import Ended
from flows.fleet_ties import said_by
from roastery.outcome import take
from roastery.results import Ending, ModelSummary, StageFailure
from roastery.spec import PipelineConfig
from roastery.store import Store

_MOST_ASKED = 200
"""Of how many runs Prefect's server tells at a time."""
_POLL_SECONDS = 2.0
_ENDINGS: Mapping[StateType, Ending] = {
    StateType.COMPLETED: "passed",
    StateType.FAILED: "failed",
    StateType.CANCELLED: "cancelled",
}


def deployment_status(name: str) -> DeploymentStatus | None:
    """Whether a worker, or a process that serves it, asks for a deployment's runs; None where there is no deployment.

    Args:
        name: "flow/deployment".
    """
    with get_client(sync_client=True) as client:
        try:
            status: DeploymentStatus | None = client.read_deployment_by_name(name).status
        except ObjectNotFound:
            return None
    return status or DeploymentStatus.NOT_READY


class DeployedRuns:
    """A dispatcher of a deployment's runs. A context manager.

    Args:
        deployment: "flow/deployment". The flow's first parameter is the model's name.
        parameters: its other parameters.
        pipeline: has the store, where runs leave how they ended, how long one may take, and how many wait or run at a
            time: a fleet of thousands asks the server for few of them. Which of them run is for the work pool to say.
    """

    def __init__(self, deployment: str, parameters: Mapping[str, Any], pipeline: PipelineConfig) -> None:
        self._deployment = deployment
        self._parameters = dict(parameters)
        self.at_once = pipeline.runs_at_once
        self._store = Store(pipeline.store)
        self._timeout = pipeline.timeouts.model
        self._fleet = str(prefect.runtime.flow_run.id)
        self._running: dict[UUID, str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "DeployedRuns":
        self._client = self._stack.enter_context(get_client(sync_client=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, model: str, attempt: int) -> UUID:
        # Outside of an event loop it is no coroutine.
        run = cast(
            FlowRun,
            run_deployment(
                self._deployment,
                parameters={"model": model, **self._parameters},
                timeout=0,
                tags=[f"model:{model}"],
                # Prefect gives the run that has this key already, in whatever state: so the attempt is part of it.
                idempotency_key=f"{self._fleet}:{model}:{attempt}",
            ),
        )
        self._running[run.id] = model
        return run.id

    def ended(self) -> Sequence[Ended]:
        while True:
            ended = [each for run in self._runs() if (each := self._ending(run)) is not None]
            for each in ended:
                del self._running[each.run]
            if ended:
                return ended
            # The server tells nobody that has not asked.
            time.sleep(_POLL_SECONDS)

    def stop(self, run: UUID) -> None:
        """Its worker kills its processes."""
        self._client.set_flow_run_state(run, Cancelling(message="Its fleet ended."))

    def _runs(self) -> list[FlowRun]:
        runs, found = list(self._running), list[FlowRun]()
        for start in range(0, len(runs), _MOST_ASKED):
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=runs[start : start + _MOST_ASKED]))
            found += self._client.read_flow_runs(flow_run_filter=wanted, limit=_MOST_ASKED)
        return found

    def _ending(self, run: FlowRun) -> Ended | None:
        """None of one that is not over."""
        assert run.state is not None
        seconds = run.total_run_time.total_seconds()
        if run.state.is_final():
            summary = take(self._store, str(run.id))
            if summary is None and run.state.type in _ENDINGS:
                summary = _said(self._running[run.id], run.state, seconds)
            return Ended(run.id, summary, "crashed", said_by(run.state), seconds)
        # The time in which it waited for a worker is none of its own.
        ran = run.estimated_run_time.total_seconds()
        if ran < self._timeout:
            return None
        reason = f"took longer than {self._timeout:g} s, and was stopped"
        self._client.set_flow_run_state(run.id, Cancelling(message=reason))
        return Ended(run.id, None, "timed out", reason, ran)


def _said(model: str, state: State[Any], seconds: float) -> ModelSummary:
    """Of a run that left nothing in the store, what its state says."""
    ended = _ENDINGS[state.type]
    failure = None
    if ended != "passed":
        failure = StageFailure(stage="run", reason=said_by(state), mistake=False)
    return ModelSummary(model=model, ended=ended, failure=failure, seconds=seconds)
