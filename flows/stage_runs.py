"""Running a model's stages as tasks: progress, what each stage cost, and which of them failed."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from prefect import Task, get_run_logger
from prefect.client.schemas.objects import State

from flows.progress import Progress, tell
from flows.shard_runners import shard_runner
from roastery.errors import ConfigError, RoasteryError
from roastery.results import Registered, StageFailure, StageResult, StageTiming
from roastery.spec import PipelineConfig
from roastery.stages.failure import failure_of, reason_of
from roastery.stages.stage import Request
from tasks.policy import configured, open_store

ResultT = TypeVar("ResultT", bound=StageResult)
AnyT = TypeVar("AnyT")


@dataclass(frozen=True)
class Spent:
    """What stages cost, and the artifacts that they gave."""

    timings: tuple[StageTiming, ...] = ()
    artifacts: tuple[str, ...] = ()


NOTHING = Spent()


class Runs(Protocol):
    """Who is asked for the stages of a model, in their order."""

    timings: list[StageTiming]
    artifacts: list[str]

    def restart(self, spent: Spent = ...) -> None: ...

    def spent(self) -> Spent: ...

    def run(self, task: Task[..., ResultT], request: Request) -> ResultT: ...

    def run_all(self, task: Task[..., ResultT], requests: Sequence[Request], label: str) -> list[ResultT]: ...

    def call(self, task: Task[..., AnyT], request: Request) -> AnyT: ...


class StageRuns:
    """The stages of one model's run, in their order.

    `timings` has an entry for each stage done so far; the shards of a target are one entry. `artifacts` has the name of
    every artifact that they gave. `failure` says which stage failed, and why, once one has.
    """

    def __init__(self, model: str, pipeline: PipelineConfig) -> None:
        self.model = model
        self.pipeline = pipeline
        self.restart()

    def restart(self, spent: Spent = NOTHING) -> None:
        """Begin again with the first stage, or with the one after those that are spent."""
        self.timings: list[StageTiming] = list(spent.timings)
        self.artifacts: list[str] = list(spent.artifacts)
        self.failure: StageFailure | None = None

    def spent(self) -> Spent:
        """What was done so far."""
        return Spent(tuple(self.timings), tuple(self.artifacts))

    def run(self, task: Task[..., ResultT], request: Request) -> ResultT:
        """Run a stage and wait for it.

        Raises:
            What the stage raises, after its retries.
        """
        started = self._begin(request.step)
        with self._explained(request):
            prepared = configured(task, request.stage, self.pipeline)
            done = cast("State[ResultT]", prepared(request, self.pipeline, return_state=True)).result()
        self._end(request.step, started, [done])
        return done

    def run_all(self, task: Task[..., ResultT], requests: Sequence[Request], label: str) -> list[ResultT]:
        """Run a stage once for each request, side by side, and wait for all of them.

        Args:
            label: names them together in `timings` and progress.

        Raises:
            What the first of them that failed raised, after its retries, when all have ended.
        """
        started = self._begin(label)
        done: list[ResultT] = []
        with ExitStack() as runner:
            with self._explained(requests[0]):
                submit = runner.enter_context(shard_runner(self.pipeline))
                futures = []
                for request in requests:
                    prepared = configured(task, request.stage, self.pipeline, in_main_thread=False)
                    futures.append((request, submit(prepared, request)))
            for _, future in futures:
                future.wait()
            for request, future in futures:
                with self._explained(request):
                    done.append(future.result())
        self._end(label, started, done)
        return done

    def call(self, task: Task[..., AnyT], request: Request) -> AnyT:
        """Run a task that makes no artifact.

        Raises:
            What the task raises, after its retries.
        """
        started = self._begin(request.stage)
        with self._explained(request):
            done = cast(AnyT, configured(task, request.stage, self.pipeline)(request, self.pipeline))
        cached = isinstance(done, Registered) and not done.created
        tell(Progress(self.model, request.stage, "done", time.perf_counter() - started, cached))
        return done

    @contextmanager
    def _explained(self, request: Request) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.failure = failure_of(open_store(self.pipeline.store), request, error)
            raise

    def _begin(self, stage: str) -> float:
        tell(Progress(self.model, stage, "begins"))
        return time.perf_counter()

    def _end(self, stage: str, started: float, done: Sequence[StageResult]) -> None:
        timing = timed(stage, done)
        self.timings.append(timing)
        self.artifacts.extend(each.artifact.name for each in done)
        tell(Progress(self.model, stage, "done", time.perf_counter() - started, timing.cached))


class DirectRuns(ABC):
    """Stages without tasks, each done when it is asked for, by whoever `result_of` asks."""

    def __init__(self) -> None:
        self.restart()

    def restart(self, spent: Spent = NOTHING) -> None:
        self.timings, self.artifacts = list(spent.timings), list(spent.artifacts)

    def spent(self) -> Spent:
        return Spent(tuple(self.timings), tuple(self.artifacts))

    @abstractmethod
    def result_of(self, request: Request) -> StageResult:
        """The stage's result."""

    def run(self, task: Task[..., ResultT], request: Request) -> ResultT:
        return self.run_all(task, [request], request.step)[0]

    def run_all(self, task: Task[..., ResultT], requests: Sequence[Request], label: str) -> list[ResultT]:
        done = [cast(ResultT, self.result_of(request)) for request in requests]
        self.timings.append(timed(label, done))
        self.artifacts.extend(each.artifact.name for each in done)
        return done

    @abstractmethod
    def call(self, task: Task[..., AnyT], request: Request) -> AnyT:
        """What a task that makes no artifact gives."""


def failure_in(runs: StageRuns, error: Exception) -> StageFailure:
    """Why a model's run ended with that error, and in which stage; a fault of the program is logged."""
    if not isinstance(error, RoasteryError):
        get_run_logger().exception("%s: a fault of the program", runs.model)
    mistake = isinstance(error, ConfigError)
    return runs.failure or StageFailure(stage="flow", reason=reason_of(error), mistake=mistake)


def timed(label: str, done: Sequence[StageResult]) -> StageTiming:
    """What stages that were run side by side cost, as one."""
    timings = [each.timing for each in done]
    return StageTiming(
        stage=label,
        seconds=round(sum(each.seconds for each in timings), 3),
        peak_memory_mb=max(each.peak_memory_mb for each in timings),
        cached=all(each.cached for each in timings),
    )
