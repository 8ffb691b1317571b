"""The task that judges a converted model."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.evaluate import EvaluateRequest, EvaluateResult
from tasks.performer import current_performer
from tasks.policy import TASK_OPTIONS, open_store, stage_cache_key


@task(
    name="evaluate",
    task_run_name="evaluate {request.model}",
    cache_key_fn=stage_cache_key,
    **TASK_OPTIONS,
)
def evaluate(request: EvaluateRequest, pipeline: PipelineConfig) -> EvaluateResult:
    """Measure AP, judge by the gate, and write the report."""
    store = open_store(pipeline.store)
    return current_performer().perform(request, EvaluateResult, store, pipeline.timeouts.evaluate)
