"""The task that samples images."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.sample import SampleRequest, SampleResult
from tasks.policy import TASK_OPTIONS
from tasks.staged import staged


@task(
    name="sample",
    task_run_name="sample {request.sample.n} {request.model}",
    **TASK_OPTIONS,
)
def sample(request: SampleRequest, pipeline: PipelineConfig) -> SampleResult:
    """Sample images to compare the net with the detector on."""
    return staged(request, SampleResult, pipeline)
