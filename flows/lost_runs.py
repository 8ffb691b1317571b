"""Saying of a run that nobody works on any more how it ended, to a Prefect server that takes it for running."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    TaskRunFilter,
    TaskRunFilterFlowRunId,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

UNFINISHED = [StateType.PENDING, StateType.RUNNING]


def end_runs(client: SyncPrefectClient, runs: list[UUID], state: State[Any]) -> None:
    """Give flow runs that state, and say of their tasks that were not over that they crashed."""
    tasks = client.read_task_runs(
        task_run_filter=TaskRunFilter(
            flow_run_id=TaskRunFilterFlowRunId(any_=runs),
            state=TaskRunFilterState(type=TaskRunFilterStateType(any_=UNFINISHED)),
        )
    )
    for task in tasks:
        client.set_task_run_state(task.id, Crashed(message=state.message), force=True)
    for run in runs:
        # The user may have deleted it.
        with suppress(ObjectNotFound):
            client.set_flow_run_state(run, state, force=True)
