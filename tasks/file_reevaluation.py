"""The task that files what a re-evaluation found."""

from collections.abc import Mapping

from prefect import task

from roastery.digest import JSON
from roastery.registry.catalog import Catalog
from roastery.registry.filed import Refiled
from roastery.registry.filed import file_reevaluation as file
from roastery.results import Evaluation
from roastery.spec import PipelineConfig
from roastery.stages.stage import Request
from tasks.links import prefect_links
from tasks.policy import TASK_OPTIONS


class FileReevaluationRequest(Request):
    """File this evaluation of that version there. The registry remembers it by its key, however often it is filed."""

    stage = "log"
    packages = ()

    name: str
    """The registered name of the converted model."""
    version: int
    evaluation: Evaluation
    evaluated: str
    tracking_uri: str
    experiment: str

    def inputs(self) -> Mapping[str, JSON]:
        return {"evaluated": self.evaluated, "registry": [self.tracking_uri, self.experiment]}


@task(name="file_reevaluation", task_run_name="file {request.model} again", **TASK_OPTIONS)
def file_reevaluation(request: FileReevaluationRequest, pipeline: PipelineConfig) -> Refiled:
    """File a re-evaluation as a run, and its verdict with the version."""
    catalog = Catalog(request.tracking_uri, request.experiment)
    return file(catalog, request.name, request.version, request.evaluated, request.evaluation, prefect_links())
