"""Flows on a real Prefect server and a real MLflow store, with the demo's models on few images."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from roastery.project import Project
from roastery.results import StageResult
from roastery.spec import DatasetSpec, GateSpec, ModelSpec, PipelineConfig, RetrySpec, SampleSpec
from roastery.stages.process import InProcess
from roastery.stages.stage import Request
from roastery.store import Store

ResultT = TypeVar("ResultT", bound=StageResult)


class Watched:
    """Does stages in this process, counts them, and raises what it is told to, once for each time it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.faults: dict[str, list[Exception]] = {}

    def perform(self, request: Request, result: type[ResultT], store: Store, timeout: float) -> ResultT:
        label = request.stage
        self.asked.append(label)
        if self.faults.get(label):
            raise self.faults[label].pop(0)
        return InProcess().perform(request, result, store, timeout)

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.asked)


@pytest.fixture(scope="session")
def run_model() -> Callable[[ModelSpec, DatasetSpec, PipelineConfig], Any]:
    """`run_model(model, dataset, pipeline)`: the flow of one model, in this process; gives its state."""
    from flows.asked import using
    from flows.convert_model import convert_model

    def run(model: ModelSpec, dataset: DatasetSpec, pipeline: PipelineConfig) -> Any:
        with using(Project(models={model.name: model}, datasets={dataset.name: dataset}, pipeline=pipeline)):
            return convert_model(model.name, return_state=True)

    return run


@pytest.fixture
def watched() -> Iterator[Watched]:
    from tasks.performer import performing

    with performing(Watched()) as performer:
        assert isinstance(performer, Watched)
        yield performer


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One ephemeral server for the session, with a database of its own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def few(shapes: Path, few_annotations: Path) -> DatasetSpec:
    """Four images of the demo's dataset."""
    return DatasetSpec(name="few", images=shapes / "val" / "images", annotations=few_annotations)


@pytest.fixture
def cut_short(few: DatasetSpec, tmp_path: Path) -> DatasetSpec:
    """The same four images; the second of them is cut short."""
    images = tmp_path / "images"
    images.mkdir()
    for record in json.loads(few.annotations.read_text())["images"]:
        shutil.copy(few.images / record["file_name"], images)
    cut = sorted(images.iterdir())[1]
    cut.write_bytes(cut.read_bytes()[:1000])
    return few.model_copy(update={"images": images})


@pytest.fixture(scope="session")
def model(box_model: Path) -> ModelSpec:
    return ModelSpec(
        name=box_model.name,
        config=box_model / "config.yaml",
        weights=str(box_model / "model_final.pkl"),
        dataset="few",
        runtimes="torch",
    )


def pipeline_in(folder: Path) -> PipelineConfig:
    return PipelineConfig(
        store=str(folder / "store"),
        tracking_uri=f"sqlite:///{folder}/mlflow.db",
        shards=2,
        sample=SampleSpec(n=1),
        gate=GateSpec(max_ap_delta=0.05),
        retries=RetrySpec(times=2, delay=0.0, jitter=0.0),
    )


@pytest.fixture(scope="session")
def converted(
    prefect_server: None,
    model: ModelSpec,
    few: DatasetSpec,
    run_model: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[PipelineConfig, object, list[str]]:
    """One cold conversion in which every stage met a fault that passes: its pipeline, its state, what was asked for."""
    from roastery.errors import RuntimeFailed, StoreUnavailable
    from roastery.stages import STAGES
    from tasks.performer import performing

    pipeline = pipeline_in(tmp_path_factory.mktemp("pipeline"))
    with performing(Watched()) as performer:
        assert isinstance(performer, Watched)
        kinds = (RuntimeFailed, StoreUnavailable)
        performer.faults = {stage: [kinds[number % 2]("it passes")] for number, stage in enumerate(STAGES)}
        state = run_model(model, few, pipeline)
    return pipeline, state, performer.asked


@pytest.fixture
def pipeline(tmp_path: Path) -> PipelineConfig:
    """An empty pipeline."""
    return pipeline_in(tmp_path)
