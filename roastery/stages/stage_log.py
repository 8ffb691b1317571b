"""What is logged while a stage runs, kept for whoever must find out why it failed."""

import logging
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

_LINES = 2000
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class StageLog:
    """The last lines that were logged in this process, and what was added to them."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES)

    def add(self, text: str) -> None:
        """Add text as it stands: another process's log, its last words."""
        self._lines.extend(text.splitlines())

    def add_error(self, error: BaseException) -> None:
        """Add an error with its traceback."""
        self.add("".join(traceback.format_exception(error)))

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)


@contextmanager
def listening() -> Iterator[StageLog]:
    """Keep what is logged in the block: Roastery's own from INFO on, other libraries' as they are set up to log."""
    log = StageLog()
    handler = _Keeping(log)
    root, own = logging.getLogger(), logging.getLogger("roastery")
    before = own.level
    root.addHandler(handler)
    if own.getEffectiveLevel() > logging.INFO:
        own.setLevel(logging.INFO)
    try:
        yield log
    finally:
        root.removeHandler(handler)
        own.setLevel(before)


class _Keeping(logging.Handler):
    def __init__(self, log: StageLog) -> None:
        super().__init__()
        self._log = log
        self.setFormatter(logging.Formatter(_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        self._log.add(self.format(record))
