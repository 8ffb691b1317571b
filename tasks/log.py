"""The task that files a conversion in the registry."""

from collections.abc import Mapping
from pathlib import Path

from prefect import task

from roastery.digest import JSON
from roastery.registry.catalog import Catalog
from roastery.results import Conversion, Registered
from roastery.spec import PipelineConfig
from roastery.stages.failure import explained
from roastery.stages.stage import Request
from roastery.store import Store
from tasks.policy import TASK_OPTIONS, open_store

REPORT_FILE = "report.md"
_FILED_OF_EVALUATION = "evaluation.json"


class LogRequest(Request):
    """File this conversion there. The registry itself remembers it by its key, however often it is filed."""

    stage = "log"
    packages = ()

    conversion: Conversion
    tracking_uri: str
    experiment: str

    def inputs(self) -> Mapping[str, JSON]:
        return {"conversion": self.conversion.key, "registry": [self.tracking_uri, self.experiment]}


@task(name="log", task_run_name="log {request.model}", **TASK_OPTIONS)
def log(request: LogRequest, pipeline: PipelineConfig) -> Registered:
    """File a conversion as one run and one registered version."""
    store = open_store(pipeline.store)
    with explained(store, request):
        return file_conversion(request, store)


def file_conversion(request: LogRequest, store: Store) -> Registered:
    """File a conversion.

    Raises:
        ArtifactMissing: an artifact of it is gone.
        RegistryRefused, RegistryUnavailable: see `roastery.registry.catalog.Catalog`.
    """
    conversion = request.conversion
    evaluated = store.fetch(conversion.evaluated)
    files: dict[str, Path] = {_FILED_OF_EVALUATION: evaluated / _FILED_OF_EVALUATION}
    for artifact in (conversion.converted, conversion.onnx):
        folder = store.fetch(artifact)
        files |= {name: folder / name for name in artifact.files if name.startswith("model")}
    return Catalog(request.tracking_uri, request.experiment).log(conversion, files, evaluated / REPORT_FILE)
