"""The task that converts ONNX to a NetDef."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.convert_caffe2 import ConvertCaffe2Request, ConvertCaffe2Result
from tasks.performer import current_performer
from tasks.policy import TASK_OPTIONS, open_store, stage_cache_key


@task(
    name="convert_caffe2",
    task_run_name="convert caffe2 {request.model}",
    cache_key_fn=stage_cache_key,
    **TASK_OPTIONS,
)
def convert_caffe2(request: ConvertCaffe2Request, pipeline: PipelineConfig) -> ConvertCaffe2Result:
    """Convert an ONNX model to Caffe2, and compare it with the detector."""
    store = open_store(pipeline.store)
    return current_performer().perform(request, ConvertCaffe2Result, store, pipeline.timeouts.convert_caffe2)
