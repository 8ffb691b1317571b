"""What a run tells while it goes on: which model is at which stage, and what it cost."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """A model's stage begins, or is done: then with its seconds, and whether it was found in the store."""

    model: str
    stage: str
    event: Literal["begins", "done"]
    seconds: float = 0.0
    cached: bool = False


Listener = Callable[[Progress], None]


def _log(progress: Progress) -> None:
    _logger.info("%s %s %s", progress.model, progress.stage, progress.event)


_listener: ContextVar[Listener] = ContextVar("listener", default=_log)


@contextmanager
def listening(listener: Listener) -> Iterator[Listener]:
    """Let this one hear of the progress of the flows that are run in this context; gives who heard of it before."""
    before = _listener.get()
    token = _listener.set(listener)
    try:
        yield before
    finally:
        _listener.reset(token)


def tell(progress: Progress) -> None:
    """Tell who listens."""
    _listener.get()(progress)
