"""A fleet's models on this machine: a process each, as many at once as its cores and its memory take."""

import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Crashed, Failed, Pending

from flows.fan_out import Ended, Lost
from flows.lost_runs import end_runs
from flows.model_process import MODULE, Answer, Asked
from flows.parent_task import parent_task_run
from flows.progress import ProgressPipe
from roastery.errors import RuntimeFailed, RuntimeTimedOut
from roastery.machine import processes_and_threads
from roastery.peer import Peer
from roastery.project import Project
from roastery.stages.failure import reason_of

_LAST_WORDS_SECONDS = 10.0


def thread_variables(threads: int) -> dict[str, str]:
    """What tells a process, before it imports anything, how many threads it is to have."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))


class LocalProcesses:
    """A dispatcher of this machine's own processes. A context manager: none of them outlives it.

    Each gets the project's word on its model by its stdin, and tells its progress to who listens here. A run is made
    known to the Prefect server before its process starts, so that one that dies at once is shown too.

    Args:
        flow: the flow of one model, whose first parameter is the model's name.
        parameters: its other parameters.
    """

    def __init__(self, flow: Flow[..., Any], project: Project, parameters: Mapping[str, Any]) -> None:
        self._flow = flow
        self._project = project
        self._parameters = parameters
        self._timeout = project.pipeline.timeouts.model
        self.at_once, self._threads = processes_and_threads(project.pipeline)
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._peers: dict[UUID, Peer] = {}
        self._callers: list[threading.Thread] = []
        self._stack = ExitStack()

    def __enter__(self) -> "LocalProcesses":
        self._client = self._stack.enter_context(get_client(sync_client=True))
        self._progress = self._stack.enter_context(ProgressPipe())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for peer in list(self._peers.values()):
            peer.kill()
        for thread in self._callers:
            thread.join()
        self._stack.close()

    def start(self, model: str, attempt: int) -> UUID:
        parameters = {"model": model, **self._parameters}
        run = self._client.create_flow_run(
            self._flow,
            parameters=parameters,
            parent_task_run_id=parent_task_run(self._client, self._flow.name, f"{model}-{attempt}"),
            state=Pending(),
        )
        peer = Peer(
            [sys.executable, "-P", "-m", MODULE],
            env=self._environment(),
            name=f"the process of {model}",
            inherits=(self._progress.writing,),
        )
        asked = Asked(
            flow=self._flow.name, run=run.id, project=self._project.only(model), progress=self._progress.writing
        )
        self._peers[run.id] = peer
        thread = threading.Thread(target=self._call, args=(run.id, peer, asked), name=f"run of {model}", daemon=True)
        self._callers = [each for each in self._callers if each.is_alive()] + [thread]
        thread.start()
        return run.id

    def _environment(self) -> dict[str, str]:
        """This process's own settings of Prefect, wherever they come from, and as many threads as are its share."""
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        return settings | thread_variables(self._threads)

    def ended(self) -> Sequence[Ended]:
        ended = [self._ended.get()]
        while not self._ended.empty():
            ended.append(self._ended.get())
        for each in ended:
            self._peers.pop(each.run, None)
            if each.summary is None:
                lost = Crashed if each.lost == "crashed" else partial(Failed, name="TimedOut")
                end_runs(self._client, [each.run], lost(message=each.reason))
        return ended

    def stop(self, run: UUID) -> None:
        peer = self._peers.pop(run, None)
        if peer is None:
            # It has ended by itself, and nobody has looked yet.
            return
        peer.kill()
        end_runs(self._client, [run], Cancelled(message="Its fleet ended."))

    def _call(self, run: UUID, peer: Peer, asked: Asked) -> None:
        started = time.monotonic()
        try:
            answer = Answer.model_validate_json(peer.call(asked.model_dump_json().encode(), self._timeout))
            # It has yet to tell the server the last of what it logged.
            peer.await_end(_LAST_WORDS_SECONDS)
            ended = Ended(run, answer.summary, reason=answer.reason)
        except RuntimeFailed as error:
            lost: Lost = "timed out" if isinstance(error, RuntimeTimedOut) else "crashed"
            ended = Ended(run, None, lost, reason_of(error), time.monotonic() - started)
        finally:
            peer.close()
        self._ended.put(ended)
