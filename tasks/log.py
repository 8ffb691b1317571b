"""The task that files a conversion in the registry."""

from collections.abc import Mapping
from pathlib import Path

from prefect import task

from roastery.digest import JSON
from roastery.registry.catalog import Catalog
from roastery.report.files import MARKDOWN_FILE
from roastery.results import Conversion, Registered
from roastery.spec import PipelineConfig
from roastery.stages.evaluate import EVALUATION_FILE
from roastery.stages.failure import explained
from roastery.stages.report import read_classes
from roastery.stages.stage import Request
from roastery.store import Store
from roastery.targets import target_of
from tasks.links import prefect_links
from tasks.policy import TASK_OPTIONS, open_store


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
        return file_conversion(request, store, prefect_links())


def file_conversion(request: LogRequest, store: Store, links: Mapping[str, str] | None = None) -> Registered:
    """File a conversion.

    Args:
        links: tags of its run that say where else it is seen.

    Raises:
        ArtifactMissing: an artifact of it is gone.
        RegistryRefused, RegistryUnavailable: see `roastery.registry.catalog.Catalog`.
    """
    conversion = request.conversion
    files: dict[str, Path] = {EVALUATION_FILE: store.fetch(conversion.evaluated) / EVALUATION_FILE}
    for name, artifact in target_of(conversion.target).origins(conversion.converted, conversion.onnx).items():
        files[name] = store.fetch(artifact) / name
    reported = store.fetch(conversion.report)
    catalog = Catalog(request.tracking_uri, request.experiment)
    return catalog.log(conversion, files, reported / MARKDOWN_FILE, read_classes(reported), links)
