"""Stages that give what a recorded conversion gave: what a fleet costs beside its conversions shows alone.

    python -m simulated_stages record CONFIGS MODEL
    python -m simulated_stages file CONFIGS

The first runs one real conversion, and leaves what each stage gave in the folder that ROASTERY_RECORDED names. The flow
`convert_model` of this module is Roastery's own, with somebody in the place of the stages who gives that again. Inputs
are pinned as ever, so that every model has artifacts of its own. The second files all models as that flow does, but in
one process and without Prefect: a registry of thousands in minutes.
"""

import os
import shutil
import sys
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from prefect import Task, flow

from flows.convert_model import chosen_roads, convert_to, export
from flows.convert_model import convert_model as real
from flows.stage_runs import DirectRuns
from roastery.project import load_project
from roastery.results import StageResult
from roastery.stages.process import InProcess
from roastery.stages.resolve import ResolveRequest
from roastery.stages.stage import FACTS_FILE, TIMING_FILE, Facts, Request, perform
from roastery.stages.worker import load_stage
from roastery.store import Store
from tasks.log import LogRequest, file_conversion
from tasks.performer import performing

ResultT = TypeVar("ResultT", bound=StageResult)
RECORDED = "ROASTERY_RECORDED"
_OWN = (".pt2", ".onnx")
"""Files that end otherwise in each model: where they are the same, so are the keys of what is made of them."""


class Recording:
    """Does the stages in this process, and keeps what each gave."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def perform(self, request: Request, result: type[ResultT], store: Store, timeout: float) -> ResultT:
        done = InProcess().perform(request, result, store, timeout)
        kept, folder = self._folder / request.label, store.fetch(done.artifact)
        kept.mkdir(parents=True)
        for name in done.artifact.files:
            shutil.copy(folder / name, kept)
        return done


class Replayed:
    """Gives for every stage what was recorded of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def perform(self, request: Request, result: type[ResultT], store: Store, timeout: float) -> ResultT:
        if isinstance(request, ResolveRequest):
            return InProcess().perform(request, result, store, timeout)
        stage = load_stage(request.stage)
        recorded = self._folder / request.label

        def run(_: Request, __: Store, directory: Path) -> Facts:
            for file in recorded.iterdir():
                if file.name not in (FACTS_FILE, TIMING_FILE):
                    shutil.copy(file, directory)
                if file.suffix in _OWN:
                    with (directory / file.name).open("ab") as own:
                        own.write(request.model.encode())
            facts: Facts = stage.facts.model_validate_json((recorded / FACTS_FILE).read_bytes())
            return facts

        done = perform(replace(stage, run=run), request, store)
        assert isinstance(done, result)
        return done


@wraps(real.fn)
def _simulated(*arguments: Any, **named: Any) -> Any:
    with performing(Replayed(Path(os.environ[RECORDED]))):
        return real.fn(*arguments, **named)


convert_model = flow(
    name=real.name,
    flow_run_name=real.flow_run_name,
    persist_result=True,
    result_serializer="json",
    validate_parameters=True,
)(_simulated)


class _Done(DirectRuns):
    """Has each stage done at once."""

    def __init__(self, performer: Replayed, store: Store) -> None:
        super().__init__()
        self._performer, self._store = performer, store

    def result_of(self, request: Request) -> StageResult:
        return self._performer.perform(request, StageResult, self._store, 0)

    def call(self, task: Task[..., Any], request: Request) -> Any:
        raise ValueError(f"{request.stage} is no stage that was recorded")


def file_all(configs: Path) -> None:
    """File every registered model."""
    project = load_project(configs)
    pipeline = project.pipeline
    performer = Replayed(Path(os.environ[RECORDED]))
    for model in project.models.values():
        # Each remembers what it has verified.
        store = Store(pipeline.store)
        runs = _Done(performer, store)
        dataset = project.dataset_of(model)
        shared = export(model, dataset, pipeline, runs)
        for road in chosen_roads(model, pipeline):
            conversion = convert_to(road, shared, model, dataset, pipeline, runs)
            places = {"tracking_uri": pipeline.tracking_uri, "experiment": pipeline.experiment}
            file_conversion(LogRequest(model=model.name, conversion=conversion, **places), store)


def main() -> None:
    what, configs, *models = sys.argv[1:]
    if what == "file":
        file_all(Path(configs))
        return
    (model,) = models
    with performing(Recording(Path(os.environ[RECORDED]))):
        real(model, configs=configs)


if __name__ == "__main__":
    main()
