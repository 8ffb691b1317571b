"""What the run at hand says that it uses, so that `roastery gc` leaves it alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from roastery.uses import Uses
from tasks.policy import open_store

_uses: ContextVar[Uses] = ContextVar("uses")


@contextmanager
def noting_uses(model: str, store: str) -> Iterator[None]:
    """Let a model's run say what it uses, in this context and in the tasks that are submitted from it."""
    with Uses(open_store(store), model) as uses:
        token = _uses.set(uses)
        try:
            yield
        finally:
            _uses.reset(token)


def note_use(stage: str, key: str) -> None:
    """Say that the run uses an artifact, before it is looked for. A task outside of any run says nothing.

    Raises:
        DiskFull, StoreRefused, StoreUnavailable: it cannot be said.
    """
    uses = _uses.get(None)
    if uses is not None:
        uses.note(stage, key)
