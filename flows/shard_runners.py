"""Who does the tasks that a model's run does side by side: its own process, or the workers of a Dask cluster."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from prefect import Task
from prefect.futures import PrefectFuture
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from roastery.errors import ConfigError, RuntimeFailed
from roastery.spec import PipelineConfig
from roastery.stages.stage import Request
from tasks.used import note_use

if TYPE_CHECKING:
    from prefect_dask.task_runners import DaskTaskRunner


class Started(Protocol):
    """A task that was started."""

    def wait(self) -> None:
        """Wait until it has ended, well or not."""
        ...

    def result(self) -> Any:
        """What it gave.

        Raises:
            What it raised, after its retries.
        """
        ...


Submit = Callable[[Task[..., Any], Request], Started]
"""Starts a task for a request."""

_CONNECT_SECONDS = 20


@contextmanager
def shard_runner(pipeline: PipelineConfig) -> Iterator[Submit]:
    """Who does them, as the pipeline says. The futures are to be waited for in the context.

    Raises:
        ConfigError: Dask is asked for and not installed.
        RuntimeFailed: no scheduler answers at its address, asked again and again.
    """
    if pipeline.dask is None:
        yield lambda task, request: task.submit(request, pipeline)
        return
    with _connected(pipeline) as runner:

        def submit(task: Task[..., Any], request: Request) -> Started:
            # What is used is noted by the run, which lives until it is over. A cluster's worker may not.
            note_use(request.stage, request.key())
            return _OnCluster(runner.submit(task, {"request": request, "pipeline": pipeline}), request)

        yield submit


class _OnCluster:
    """A task on a Dask cluster. Where its worker dies, Dask gives it to another, and after some gives it up."""

    def __init__(self, future: PrefectFuture[Any], request: Request) -> None:
        self._future, self._request = future, request

    def wait(self) -> None:
        self._future.wait()

    def result(self) -> Any:
        from distributed.scheduler import KilledWorker, NoValidWorkerError

        try:
            return self._future.result()
        except (KilledWorker, NoValidWorkerError) as error:
            raise RuntimeFailed(
                f"{self._request.label}: no worker of the Dask cluster lived to do it ({error}); look at their logs"
            ) from error


@contextmanager
def _connected(pipeline: PipelineConfig) -> Iterator["DaskTaskRunner"]:
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise ConfigError(
            f"dask: {pipeline.dask} is asked for, but Dask is not installed ({error}); "
            "pip install 'roastery[dask]', or take `dask` out of pipeline.yaml"
        ) from error
    patient = Retrying(
        retry=retry_if_exception_type(OSError),
        stop=stop_after_attempt(1 + pipeline.retries.times),
        wait=wait_exponential(pipeline.retries.delay),
    )
    with DaskTaskRunner(address=pipeline.dask, client_kwargs={"timeout": _CONNECT_SECONDS}) as runner:
        try:
            patient(lambda: runner.client)
        except RetryError as error:
            raise RuntimeFailed(
                f"dask: no scheduler answers at {pipeline.dask}; start it (`dask scheduler`), or take `dask` out of "
                "pipeline.yaml"
            ) from error
        yield runner
