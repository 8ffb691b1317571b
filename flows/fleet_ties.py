"""How a model's run tells the fleet that started it how it ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext

from roastery.outcome import leave
from roastery.results import ModelSummary
from roastery.store import Store

_heard: ContextVar[list[ModelSummary]] = ContextVar("heard")


@contextmanager
def hearing() -> Iterator[list[ModelSummary]]:
    """Hear what the runs in this block tell their fleet."""
    token = _heard.set([])
    try:
        yield _heard.get()
    finally:
        _heard.reset(token)


def said_by(state: State[Any]) -> str:
    """What a run's state says, in one line."""
    return " ".join((state.message or state.name or "it did not say why").split())


def tell_fleet(summary: ModelSummary, store: str) -> None:
    """Tell it: who hears in this process, else a fleet that waits for this run elsewhere, by the store."""
    heard = _heard.get(None)
    if heard is not None:
        heard.append(summary)
        return
    context = FlowRunContext.get()
    run = None if context is None else context.flow_run
    if run is not None and run.parent_task_run_id is not None:
        leave(Store(store), str(run.id), summary)
