"""Whether a model's whole conversion is in the store and filed, found out without running anything.

It goes the flow's own way (`export`, `convert_to`), with somebody in the place of the stages who only looks. So no
input of any stage can change unseen: weights, config, dataset, parameters, sources and packages are all in the keys.
"""

from collections.abc import Iterator
from typing import TypeVar

from prefect import Task

from flows.convert_model import chosen_roads, convert_to, export
from flows.stage_runs import DirectRuns
from roastery.errors import RoasteryError
from roastery.outcome import summarised
from roastery.project import Project
from roastery.registry.catalog import Catalog
from roastery.registry.sources import source_spec
from roastery.results import Filed, ModelOutcome, ModelSummary, StageResult
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig
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
        filed = list(_filed(model, dataset, pipeline, _Recalled(store), catalog))
    except (_NotThereError, RoasteryError):
        return None
    whole = ModelOutcome(model=model.name, filed=tuple(filed), seconds=0.0)
    return summarised(whole).model_copy(update={"unchanged": True})


def _filed(
    model: ModelSpec, dataset: DatasetSpec, pipeline: PipelineConfig, runs: "_Recalled", catalog: Catalog
) -> Iterator[Filed]:
    """The conversion of each target."""
    shared = export(model, dataset, pipeline, runs)
    spent = runs.spent()
    for road in chosen_roads(model, pipeline):
        runs.restart(spent)
        conversion = convert_to(road, shared, model, dataset, pipeline, runs)
        registered = catalog.find(conversion)
        if registered is None:
            raise _NotThereError
        yield Filed(conversion=conversion, registered=registered)


class _NotThereError(Exception):
    """A stage would have to be run."""


class _Recalled(DirectRuns):
    """Takes every stage from the store."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def call(self, task: Task[..., AnyT], request: Request) -> AnyT:
        raise _NotThereError

    def result_of(self, request: Request) -> StageResult:
        found = self._store.find(request.stage, request.key())
        if found is None:
            raise _NotThereError
        result = recall(load_stage(request.stage), found, self._store)
        assert isinstance(result, StageResult)
        return result
