"""The task that samples images."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.sample import SampleRequest, SampleResult
from tasks.performer import current_performer
from tasks.policy import TASK_OPTIONS, open_store, stage_cache_key


@task(
    name="sample",
    task_run_name="sample {request.sample.n} {request.model}",
    cache_key_fn=stage_cache_key,
    **TASK_OPTIONS,
)
def sample(request: SampleRequest, pipeline: PipelineConfig) -> SampleResult:
    """Sample images to compare the net with the detector on."""
    store = open_store(pipeline.store)
    return current_performer().perform(request, SampleResult, store, pipeline.timeouts.sample)
