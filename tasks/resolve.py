"""The task that pins a model's inputs."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.resolve import ResolveRequest, ResolveResult
from tasks.performer import current_performer
from tasks.policy import TASK_OPTIONS, open_store, stage_cache_key


@task(
    name="resolve",
    task_run_name="resolve {request.model}",
    cache_key_fn=stage_cache_key,
    **TASK_OPTIONS,
)
def resolve(request: ResolveRequest, pipeline: PipelineConfig) -> ResolveResult:
    """Pin a model's config, checkpoint and data."""
    store = open_store(pipeline.store)
    return current_performer().perform(request, ResolveResult, store, pipeline.timeouts.resolve)
