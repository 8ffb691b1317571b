"""Runs that Prefect's database takes for running for ever, because their process was killed.

While a fleet runs, a file of its flow run's id lies in `<PREFECT_HOME>/running`, locked by its process. The operating
system lets go of the lock however that ends. So who can lock such a file knows that nobody is behind the run any more.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import httpx
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import PrefectException
from prefect.states import Crashed

from flows.lost_runs import UNFINISHED, end_runs

P = ParamSpec("P")
R = TypeVar("R")

_logger = logging.getLogger(__name__)
_FOLDER = "running"
_MESSAGE = "Its process was killed."


@contextmanager
def kept(home: Path, fleet: Flow[P, R]) -> Iterator[Flow[P, R]]:
    """A flow whose run is known to be running while the block is, and not after, in whatever way its process ends."""
    folder = home / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[Path, int] = {}

    def keep(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
        file = folder / str(flow_run.id)
        if file in files:
            return
        # Locked before it has the name by which it is found.
        new = folder / f"{flow_run.id}.new"
        files[file] = os.open(new, os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(files[file], fcntl.LOCK_EX)
        new.rename(file)

    try:
        yield fleet.with_options(on_running=[keep])
    finally:
        for file, descriptor in files.items():
            file.unlink(missing_ok=True)
            os.close(descriptor)


def end_lost_runs(home: Path) -> None:
    """Say of each run whose process is gone, and of its parts that were not over, that it crashed.

    Where the server does not take that, it is logged, and the next command says it.
    """
    lost = [file for file in (home / _FOLDER).glob("*") if not file.suffix]
    if not lost:
        return
    with get_client(sync_client=True) as client:
        for file in lost:
            with suppress(FileNotFoundError), file.open("rb") as opened:
                try:
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _end(client, UUID(file.name))
                except BlockingIOError:
                    continue
                except (httpx.HTTPError, PrefectException) as error:
                    _logger.warning("%s: Prefect does not take it that this run is lost: %s", file.name, error)
                    continue
                file.unlink(missing_ok=True)


def _end(client: SyncPrefectClient, fleet: UUID) -> None:
    models = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[fleet]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)),
        )
    )
    end_runs(client, [*(model.id for model in models), fleet], Crashed(message=_MESSAGE))
