"""The task that detects on one shard of the images."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.predict import PredictRequest, PredictResult
from tasks.performer import current_performer
from tasks.policy import TASK_OPTIONS, open_store, stage_cache_key


@task(
    name="predict",
    task_run_name="predict {request.target} {request.shard}/{request.shards} {request.model}",
    cache_key_fn=stage_cache_key,
    **TASK_OPTIONS,
)
def predict(request: PredictRequest, pipeline: PipelineConfig) -> PredictResult:
    """Detect with the original or the converted model, on one shard of the images."""
    store = open_store(pipeline.store)
    return current_performer().perform(request, PredictResult, store, pipeline.timeouts.predict)
