"""The task that files a conversion in the registry."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from roastery.registry.catalog import Catalog
from roastery.results import Conversion, Registered
from roastery.spec import PipelineConfig
from tasks.policy import TASK_OPTIONS, open_store

REPORT_FILE = "report.md"
_FILED_OF_EVALUATION = "evaluation.json"


@task(
    name="log",
    task_run_name="log {conversion.resolved.name}",
    # The registry itself remembers: a conversion that is there already is found by its key, however often it is logged.
    cache_policy=NO_CACHE,
    **TASK_OPTIONS,
)
def log(conversion: Conversion, pipeline: PipelineConfig) -> Registered:
    """File a conversion as one run and one registered version."""
    store = open_store(pipeline.store)
    evaluated = store.fetch(conversion.evaluated)
    files: dict[str, Path] = {_FILED_OF_EVALUATION: evaluated / _FILED_OF_EVALUATION}
    for artifact in (conversion.converted, conversion.onnx):
        folder = store.fetch(artifact)
        files |= {name: folder / name for name in artifact.files if name.startswith("model")}
    return Catalog(pipeline.tracking_uri, pipeline.experiment).log(conversion, files, evaluated / REPORT_FILE)
