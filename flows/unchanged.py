"""Whether a model's whole conversion is in the store and filed, found out without running anything.

It goes the flow's own way (`convert`), with somebody in the place of the stages who only looks. So no input of any
stage can change unseen: weights, config, dataset, parameters, sources and packages are all in the keys.
"""

from collections.abc import Sequence
from typing import TypeVar, cast

from prefect import Task

from flows.convert_model import convert
from flows.stage_runs import timed
from roastery.errors import RoasteryError
from roastery.outcome import summary_of
from roastery.project import Project
from roastery.registry.catalog import Catalog
from roastery.registry.sources import source_spec
from roastery.results import ModelSummary, StageResult, StageTiming
from roastery.spec import ModelSpec
from roastery.stages.stage import Request, recall
from roastery.stages.worker import load_stage
from roastery.store import Store
from tasks.obtain import known, local

ResultT = TypeVar("ResultT", bound=StageResult)
AnyT = TypeVar("AnyT")


def unchanged(model: ModelSpec, project: Project, catalog: Catalog) -> ModelSummary | None:
    """How the model's conversion ended when it was made, if it is whole and filed; else None: its run says why."""
    pipeline = project.pipeline
    try:
        # A store of its own: each remembers what it has verified, and a fleet has thousands of models.
        store = Store(pipeline.store)
        dataset = project.dataset_of(model)
        if model.is_registered:
            registered = source_spec(catalog, model.weights)
            source = known(registered, store)
            if source is None:
                return None
            model = local(model, registered, source, store)
        conversion = convert(model, dataset, pipeline, _Recalled(store))
        filed = catalog.find(conversion)
    except (_NotThereError, RoasteryError):
        return None
    if filed is None:
        return None
    return summary_of(
        model.name,
        conversion.evaluation,
        filed,
        report=conversion.report.uri,
        artifacts=conversion.converted.uri,
        unchanged=True,
    )


class _NotThereError(Exception):
    """A stage would have to be run."""


class _Recalled:
    """Takes every stage from the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.timings: list[StageTiming] = []
        self.artifacts: list[str] = []

    def restart(self) -> None:
        self.timings.clear()
        self.artifacts.clear()

    def run(self, task: Task[..., ResultT], request: Request) -> ResultT:
        return self.run_all(task, [request], request.stage)[0]

    def run_all(self, task: Task[..., ResultT], requests: Sequence[Request], label: str) -> list[ResultT]:
        done = [cast(ResultT, self._recalled(request)) for request in requests]
        self.timings.append(timed(label, done))
        self.artifacts.extend(each.artifact.name for each in done)
        return done

    def call(self, task: Task[..., AnyT], request: Request) -> AnyT:
        raise _NotThereError

    def _recalled(self, request: Request) -> StageResult:
        found = self._store.find(request.stage, request.key())
        if found is None:
            raise _NotThereError
        result = recall(load_stage(request.stage), found, self._store)
        assert isinstance(result, StageResult)
        return result
