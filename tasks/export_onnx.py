"""The task that exports a traced model."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.export_onnx import ExportOnnxRequest, ExportOnnxResult
from tasks.performer import current_performer
from tasks.policy import TASK_OPTIONS, open_store, stage_cache_key


@task(
    name="export_onnx",
    task_run_name="export onnx {request.model}",
    cache_key_fn=stage_cache_key,
    **TASK_OPTIONS,
)
def export_onnx(request: ExportOnnxRequest, pipeline: PipelineConfig) -> ExportOnnxResult:
    """Export a traced model as ONNX."""
    store = open_store(pipeline.store)
    return current_performer().perform(request, ExportOnnxResult, store, pipeline.timeouts.export_onnx)
