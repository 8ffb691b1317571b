"""Running a model's stages as tasks: the cache that the store vouches for, progress, and what each stage cost."""

import time
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from prefect import Task
from prefect.futures import PrefectFuture

from flows.progress import Progress, tell
from roastery.results import ArtifactRef, StageResult, StageTiming
from roastery.spec import PipelineConfig
from roastery.stages.stage import Request, recall
from roastery.stages.worker import load_stage
from tasks.policy import configured, find_artifact, open_store, remembered

ResultT = TypeVar("ResultT", bound=StageResult)


class StageRuns:
    """The stages of one model's run, in their order.

    `timings` has an entry for each stage done so far; the shards of a target are one entry.
    """

    def __init__(self, model: str, pipeline: PipelineConfig) -> None:
        self.model = model
        self.pipeline = pipeline
        self.timings: list[StageTiming] = []

    def run(self, task: Task[..., ResultT], request: Request, result: type[ResultT]) -> ResultT:
        """Run a stage and wait for it.

        Raises:
            What the stage raises, after its retries.
        """
        started = self._begin(request.stage)
        artifact = find_artifact(request, self.pipeline)
        prepared = remembered(configured(task, request.stage, self.pipeline), artifact)
        given = prepared(request, self.pipeline)
        done = self._settled(given, request, artifact, result)
        self._end(request.stage, started, [done.timing])
        return done

    def run_all(
        self, task: Task[..., ResultT], requests: Sequence[Request], result: type[ResultT], label: str
    ) -> list[ResultT]:
        """Run a stage once for each request, side by side, and wait for all of them.

        Args:
            label: names them together in `timings` and progress.

        Raises:
            What the first of them that failed raised, after its retries, when all have ended.
        """
        started = self._begin(label)
        futures: list[tuple[Request, ArtifactRef | None, PrefectFuture[Any]]] = []
        for request in requests:
            artifact = find_artifact(request, self.pipeline)
            prepared = remembered(configured(task, request.stage, self.pipeline, in_main_thread=False), artifact)
            futures.append((request, artifact, prepared.submit(request, self.pipeline)))
        for _, _, future in futures:
            future.wait()
        done = [self._settled(future.result(), request, artifact, result) for request, artifact, future in futures]
        self._end(label, started, [each.timing for each in done])
        return done

    def _settled(self, given: Any, request: Request, found: ArtifactRef | None, result: type[ResultT]) -> ResultT:
        """The stage's result; the store's own word on it where the artifact was there before, whatever a cache says."""
        if found is None:
            return cast(ResultT, given)
        recalled = recall(load_stage(request.stage), found, open_store(self.pipeline.store))
        assert isinstance(recalled, result)
        return recalled

    def _begin(self, stage: str) -> float:
        tell(Progress(self.model, stage, "begins"))
        return time.perf_counter()

    def _end(self, stage: str, started: float, timings: Sequence[StageTiming]) -> None:
        timing = StageTiming(
            stage=stage,
            seconds=round(sum(each.seconds for each in timings), 3),
            peak_memory_mb=max(each.peak_memory_mb for each in timings),
            cached=all(each.cached for each in timings),
        )
        self.timings.append(timing)
        tell(Progress(self.model, stage, "done", time.perf_counter() - started, timing.cached))
