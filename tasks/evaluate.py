"""The task that judges a converted model."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.evaluate import EvaluateRequest, EvaluateResult
from tasks.policy import TASK_OPTIONS
from tasks.staged import staged


@task(
    name="evaluate",
    task_run_name="evaluate {request.model}",
    **TASK_OPTIONS,
)
def evaluate(request: EvaluateRequest, pipeline: PipelineConfig) -> EvaluateResult:
    """Measure AP and judge by the gate."""
    return staged(request, EvaluateResult, pipeline)
