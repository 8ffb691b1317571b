"""The task that fetches a model's checkpoint from its address."""

from collections.abc import Mapping

from prefect import task

from roastery.digest import JSON
from roastery.spec import ModelSpec, PipelineConfig
from roastery.stages.stage import Request
from roastery.weights.fetch import local_weights
from tasks.policy import TASK_OPTIONS


class FetchWeightsRequest(Request):
    """Fetch this model's checkpoint."""

    stage = "fetch"
    packages = ()

    spec: ModelSpec

    def inputs(self) -> Mapping[str, JSON]:
        return {"weights": self.spec.weights, "sha256": self.spec.weights_sha256}


@task(name="fetch", task_run_name="fetch {request.model}", **TASK_OPTIONS)
def fetch_weights(request: FetchWeightsRequest, pipeline: PipelineConfig) -> None:
    """Fetch a model's checkpoint from its address, unless it was fetched before."""
    local_weights(request.spec.weights, request.spec.weights_sha256)
