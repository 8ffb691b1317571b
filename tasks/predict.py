"""The task that detects on one shard of the images."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.predict import PredictRequest, PredictResult
from tasks.performer import own_worker
from tasks.policy import TASK_OPTIONS
from tasks.staged import staged


@task(
    name="predict",
    task_run_name="predict {request.finder} {request.shard}/{request.shards} {request.model}",
    **TASK_OPTIONS,
)
def predict(request: PredictRequest, pipeline: PipelineConfig) -> PredictResult:
    """Detect with the original or the converted model, on one shard of the images."""
    # On a worker of a Dask cluster nobody has begun a process for the model.
    with own_worker(request.model):
        return staged(request, PredictResult, pipeline)
