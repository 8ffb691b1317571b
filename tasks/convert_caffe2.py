"""The task that converts ONNX to a NetDef."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.convert_caffe2 import ConvertCaffe2Request, ConvertCaffe2Result
from tasks.policy import TASK_OPTIONS
from tasks.staged import staged


@task(
    name="convert_caffe2",
    task_run_name="convert caffe2 {request.model}",
    **TASK_OPTIONS,
)
def convert_caffe2(request: ConvertCaffe2Request, pipeline: PipelineConfig) -> ConvertCaffe2Result:
    """Convert an ONNX model to Caffe2, and compare it with the detector."""
    return staged(request, ConvertCaffe2Result, pipeline)
