"""The task that traces a model."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.trace import TraceRequest, TraceResult
from tasks.policy import TASK_OPTIONS
from tasks.staged import staged


@task(
    name="trace",
    task_run_name="trace {request.model}",
    **TASK_OPTIONS,
)
def trace(request: TraceRequest, pipeline: PipelineConfig) -> TraceResult:
    """Trace a model to one graph."""
    return staged(request, TraceResult, pipeline)
