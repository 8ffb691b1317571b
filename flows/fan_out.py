"""Many models at once, each by a run of its own, and none of them anybody else's trouble."""

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from roastery.results import ModelSummary, StageFailure

Lost = Literal["crashed", "timed out"]

ATTEMPTS = 2
"""How often a model's run is started where its process is lost. What failed for a reason was retried by its tasks."""


@dataclass(frozen=True)
class Ended:
    """A run that is over: it said how, or else it was lost."""

    run: UUID
    summary: ModelSummary | None
    lost: Lost = "crashed"
    reason: str = ""
    seconds: float = 0.0


class Dispatcher(Protocol):
    """Who starts models' runs, and tells when they have ended. A run that is over its time, it stops itself."""

    @property
    def at_once(self) -> int:
        """How many runs it takes at a time."""
        ...

    def start(self, model: str, attempt: int) -> UUID:
        """Start a model's run; gives the flow run's id.

        Args:
            attempt: 1, 2, ...: the same attempt of the same fleet is never started twice.
        """
        ...

    def ended(self) -> Sequence[Ended]:
        """The runs that have ended since it was last asked; waits for one."""
        ...

    def stop(self, run: UUID) -> None:
        """Stop a run, and all its processes."""
        ...


def fan_out(models: Sequence[str], dispatcher: Dispatcher) -> Generator[tuple[int, ModelSummary], None, None]:
    """Run the models, as many at once as the dispatcher takes; gives each one's place in `models`, and how it ended.

    A run whose process is lost is started once more. When the iterator is closed, what still runs is stopped.
    """
    waiting = deque((place, 1) for place in range(len(models)))
    running: dict[UUID, tuple[int, int]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < dispatcher.at_once:
                place, attempt = waiting.popleft()
                running[dispatcher.start(models[place], attempt)] = place, attempt
            for ended in dispatcher.ended():
                place, attempt = running.pop(ended.run)
                if ended.summary is not None:
                    yield place, ended.summary
                elif ended.lost == "crashed" and attempt < ATTEMPTS:
                    waiting.appendleft((place, attempt + 1))
                else:
                    yield place, _lost(models[place], ended)
    finally:
        for run in running:
            dispatcher.stop(run)


def _lost(model: str, ended: Ended) -> ModelSummary:
    failure = StageFailure(stage="run", reason=ended.reason, mistake=False)
    return ModelSummary(model=model, ended=ended.lost, failure=failure, seconds=ended.seconds)
