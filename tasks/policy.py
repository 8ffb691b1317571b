"""What all tasks have in common: when and how often they are tried again, their timeouts, their store."""

from functools import cache
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from roastery.errors import RegistryUnavailable, RuntimeFailed, StoreRefused, StoreUnavailable, WeightsUnavailable
from roastery.spec import PipelineConfig
from roastery.store import Store

MAY_PASS = (
    *(RuntimeFailed, StoreUnavailable, StoreRefused, RegistryUnavailable, WeightsUnavailable),
    *(TimeoutError, ConnectionError),
)
"""What may be gone when a task is tried again: a worker that died or hung, a store, a registry or an address that
was busy or refused for a while.

All else is the user's to mend, or a fault of the program, and would only fail again.
"""

# A stage that hangs is killed in its worker when its time is up; Prefect's own timeout is there should that fail.
_GRACE_SECONDS = 30.0


@cache
def open_store(url: str) -> Store:
    """The store, one a process: it remembers what it has verified."""
    return Store(url)


def forget_stores() -> None:
    """Let the next look at a store verify everything anew."""
    open_store.cache_clear()


def may_pass(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether to try a task again after its error."""
    return isinstance(state.data, MAY_PASS)


def configured(
    task: Task[..., Any], stage: str, pipeline: PipelineConfig, in_main_thread: bool = True
) -> Task[..., Any]:
    """The task with the pipeline's retries and timeout.

    Args:
        in_main_thread: Prefect can time a task out only there; in a thread the worker's own timeout must do.
    """
    retries = pipeline.retries
    options: dict[str, Any] = {"retries": retries.times, "retry_jitter_factor": retries.jitter}
    options["retry_delay_seconds"] = exponential_backoff(retries.delay)(retries.times) if retries.delay else 0
    if in_main_thread:
        options["timeout_seconds"] = pipeline.timeouts.of(stage) + _GRACE_SECONDS
    return task.with_options(**options)


TASK_OPTIONS: dict[str, Any] = {
    "retries": PipelineConfig().retries.times,
    "retry_delay_seconds": exponential_backoff(PipelineConfig().retries.delay),
    "retry_jitter_factor": PipelineConfig().retries.jitter,
    "retry_condition_fn": may_pass,
    # The store remembers, and is looked at each time: see `tasks/staged.py`.
    "persist_result": False,
    "cache_policy": NO_CACHE,
    "log_prints": False,
    # No tags: for each task that has some, Prefect asks its database for a slot, and on SQLite, right after another
    # task, may be told to come again in two seconds. A stage is told from others by its task's name.
}
"""For `@task`: every one is retried with a delay that doubles, and remembers nothing itself."""
