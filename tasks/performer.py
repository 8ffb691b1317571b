"""Who does the stages of the run at hand: a worker process of the model, unless told otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from roastery.stages.process import InProcess, Performer, StageWorker

_performer: ContextVar[Performer] = ContextVar("performer")


@contextmanager
def performing(performer: Performer) -> Iterator[Performer]:
    """Let this one do the stages, in this context and in the tasks that are submitted from it."""
    token = _performer.set(performer)
    try:
        yield performer
    finally:
        _performer.reset(token)


@contextmanager
def own_worker(model: str) -> Iterator[None]:
    """Let a process of the model's own do the stages, unless somebody was told to already."""
    if _performer.get(None) is not None:
        yield
        return
    with StageWorker(model) as worker, performing(worker):
        yield


def current_performer() -> Performer:
    """Who does the stages here. A task that is called outside of any flow does its stage in this process."""
    return _performer.get(InProcess())
