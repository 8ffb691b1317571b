"""The task run by which a model's run shows as part of its fleet's, as Prefect shows flows that are called in flows."""

from uuid import UUID

from prefect import Task
from prefect.client.orchestration import SyncPrefectClient
from prefect.context import FlowRunContext
from prefect.states import Pending


def parent_task_run(client: SyncPrefectClient, flow: str, key: str) -> UUID | None:
    """Make it in the flow run at hand; None outside of any.

    Args:
        flow: the name of the flow that is to be shown.
        key: tells it from others in the same run.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    task: Task[[], None] = Task(name=flow, fn=lambda: None)
    made = client.create_task_run(task=task, flow_run_id=context.flow_run.id, dynamic_key=key, state=Pending())
    return made.id
