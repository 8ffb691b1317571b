"""The task that writes the report."""

from prefect import task

from roastery.spec import PipelineConfig
from roastery.stages.report import ReportRequest, ReportResult
from tasks.policy import TASK_OPTIONS
from tasks.staged import staged


@task(
    name="report",
    task_run_name="report {request.model}",
    **TASK_OPTIONS,
)
def report(request: ReportRequest, pipeline: PipelineConfig) -> ReportResult:
    """Write both forms of the report, with its pictures."""
    return staged(request, ReportResult, pipeline)
