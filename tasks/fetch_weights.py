"""The task that fetches a model's checkpoint from its address."""

from collections.abc import Mapping
from pathlib import Path

from prefect import task

from roastery.digest import JSON
from roastery.spec import ModelSpec, PipelineConfig
from roastery.stages.stage import Request
from roastery.weights.fetch import fetched_before as weights_fetched_before
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
def fetch_weights(request: FetchWeightsRequest, pipeline: PipelineConfig) -> ModelSpec:
    """Fetch a model's checkpoint from its address, unless it was fetched before."""
    spec = request.spec
    return _at(spec, local_weights(spec.weights, spec.weights_sha256))


def fetched_before(spec: ModelSpec) -> ModelSpec | None:
    """The spec with its checkpoint on this machine; None where it was not fetched yet.

    Raises:
        CheckpointError: an address that is none.
    """
    found = weights_fetched_before(spec.weights)
    return None if found is None else _at(spec, found)


def _at(spec: ModelSpec, checkpoint: Path) -> ModelSpec:
    return spec.model_copy(update={"weights": str(checkpoint)})
