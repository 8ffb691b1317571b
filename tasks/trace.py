"""The task that traces a model."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.trace import TraceRequest, TraceResult
from tasks.performer import current_performer
from tasks.policy import TASK_OPTIONS, open_store, stage_cache_key


@task(
    name="trace",
    task_run_name="trace {request.model}",
    cache_key_fn=stage_cache_key,
    **TASK_OPTIONS,
)
def trace(request: TraceRequest, pipeline: PipelineConfig) -> TraceResult:
    """Trace a model to one graph."""
    store = open_store(pipeline.store)
    return current_performer().perform(request, TraceResult, store, pipeline.timeouts.trace)
