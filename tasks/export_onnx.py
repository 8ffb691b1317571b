"""The task that exports a traced model."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.export_onnx import ExportOnnxRequest, ExportOnnxResult
from tasks.policy import TASK_OPTIONS
from tasks.staged import staged


@task(
    name="export_onnx",
    task_run_name="export onnx {request.model}",
    **TASK_OPTIONS,
)
def export_onnx(request: ExportOnnxRequest, pipeline: PipelineConfig) -> ExportOnnxResult:
    """Export a traced model as ONNX."""
    return staged(request, ExportOnnxResult, pipeline)
