"""The task that pins a model's inputs."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.resolve import ResolveRequest, ResolveResult
from tasks.policy import TASK_OPTIONS
from tasks.staged import staged


@task(
    name="resolve",
    task_run_name="resolve {request.model}",
    **TASK_OPTIONS,
)
def resolve(request: ResolveRequest, pipeline: PipelineConfig) -> ResolveResult:
    """Pin a model's config, checkpoint and data."""
    return staged(request, ResolveResult, pipeline)
