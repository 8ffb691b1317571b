"""Who does the stages of the run at hand: a worker process of the model, unless told otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from roastery.stages.process import InProcess, Performer

_performer: ContextVar[Performer] = ContextVar("performer")


@contextmanager
def performing(performer: Performer) -> Iterator[Performer]:
    """Let this one do the stages, in this context and in the tasks that are submitted from it."""
    token = _performer.set(performer)
    try:
        yield performer
    finally:
        _performer.reset(token)


def current_performer() -> Performer:
    """Who does the stages here. A task that is called outside of any flow does its stage in this process."""
    return _performer.get(InProcess())


def has_performer() -> bool:
    """Whether somebody was told to do the stages here."""
    return _performer.get(None) is not None
