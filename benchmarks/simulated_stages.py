"""Stages that give what a recorded conversion gave: what a fleet costs beside its conversions shows alone.

    python benchmarks/simulated_stages.py CONFIGS MODEL

runs one real conversion, and leaves what each stage gave in the folder that ROASTERY_RECORDED names. The flow
`convert_model` of this module is Roastery's own, with somebody in the place of the stages who gives that again. Inputs
are pinned as ever, so that every model has artifacts of its own.
"""

import os
import shutil
import sys
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from prefect import flow

from flows.convert_model import convert_model as real
from roastery.results import StageResult
from roastery.stages.process import InProcess
from roastery.stages.resolve import ResolveRequest
from roastery.stages.stage import FACTS_FILE, TIMING_FILE, Facts, Request, perform
from roastery.stages.worker import load_stage
from roastery.store import Store
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


def main() -> None:
    configs, model = sys.argv[1:]
    with performing(Recording(Path(os.environ[RECORDED]))):
        real(model, configs=configs)


if __name__ == "__main__":
    main()
