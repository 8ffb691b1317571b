"""What a run tells while it goes on: which model is at which stage, and what it cost."""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Literal

_logger = logging.getLogger(__name__)
_PASSED_ON_SECONDS = 5.0


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


def writing_to(descriptor: int) -> Listener:
    """A listener that writes a line of JSON to a pipe for each that it hears of. That nobody reads there any more is no
    trouble of the run's.
    """

    def write(progress: Progress) -> None:
        # One write of less than a pipe's atom: processes that share the pipe do not mix their lines.
        with suppress(BrokenPipeError):
            os.write(descriptor, (json.dumps(asdict(progress)) + "\n").encode())

    return write


class ProgressPipe:
    """A pipe from other processes to who listens here. `writing` is the descriptor that they inherit.

    A context manager.
    """

    def __enter__(self) -> "ProgressPipe":
        reading, self.writing = os.pipe()
        # The thread has a context of its own.
        self._thread = threading.Thread(target=_pass_on, args=(reading, _listener.get()), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self.writing)
        # It ends when all who inherited the other end have.
        self._thread.join(_PASSED_ON_SECONDS)


def _pass_on(reading: int, listener: Listener) -> None:
    with os.fdopen(reading, encoding="utf-8") as lines:
        for line in lines:
            listener(Progress(**json.loads(line)))
