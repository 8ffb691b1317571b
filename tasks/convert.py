"""The task that converts the exported ONNX to one target."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.convert import ConvertRequest, ConvertResult
from tasks.policy import TASK_OPTIONS
from tasks.staged import staged


@task(
    name="convert",
    task_run_name="convert {request.model} to {request.target}",
    **TASK_OPTIONS,
)
def convert(request: ConvertRequest, pipeline: PipelineConfig) -> ConvertResult:
    """Convert an ONNX model to a target, and compare it with the detector."""
    return staged(request, ConvertResult, pipeline)
