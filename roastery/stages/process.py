"""The other side of the worker: ask a process of its own to do a stage, and survive whatever becomes of it."""

import json
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar

from roastery import errors
from roastery.errors import RoasteryError, RuntimeFailed, UserError
from roastery.peer import Peer
from roastery.results import StageResult
from roastery.stages.stage import Request, perform
from roastery.stages.worker import load_stage
from roastery.store import Store

ResultT = TypeVar("ResultT", bound=StageResult)


class Performer(Protocol):
    """Who does stages."""

    def perform(self, request: Request, result: type[ResultT], store: Store, timeout: float) -> ResultT:
        """Do the stage that the request asks for; `result` is what that stage gives."""
        ...


class InProcess:
    """Does stages in this process: for light ones, and for tests. It cannot be timed out."""

    def perform(self, request: Request, result: type[ResultT], store: Store, timeout: float) -> ResultT:
        done = perform(load_stage(request.stage), request, store)
        assert isinstance(done, result)
        return done


class StageWorker:
    """Does the stages of one model in a process of its own, which starts with the first of them.

    A crash there is that model's failure and nobody else's; the next call starts a new process. Stages that several
    threads ask for are done one after another.

    Args:
        name: the model's, for messages.
    """

    def __init__(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._peer = Peer([sys.executable, "-m", "roastery.stages.worker"], env=environment, name=f"worker of {name}")
        # A stage's time starts when it is its turn.
        self._turn = threading.Lock()

    def perform(self, request: Request, result: type[ResultT], store: Store, timeout: float) -> ResultT:
        """Do a stage.

        Args:
            timeout: seconds after which the process is killed.

        Raises:
            UserError: of the class that the stage raised; never worth a retry.
            RuntimeFailed: the process crashed, was killed or did not answer in time. Its last words are in the message.
            RoasteryError: another error of the stage, of its class.
        """
        message = {
            "stage": request.stage,
            "store": store.url,
            "key": _known_key(request),
            "request": request.model_dump(mode="json"),
        }
        with self._turn:
            try:
                reply = json.loads(self._peer.call(json.dumps(message).encode(), timeout))
            except RuntimeFailed as error:
                raise RuntimeFailed(f"{request.stage}: {_plainly(str(error))}") from error
        if "error" in reply:
            raise _revive(reply["error"])
        return result.model_validate(reply["result"])

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        return self._peer.pid

    def kill(self) -> None:
        """Kill the process; the call under way raises RuntimeFailed."""
        self._peer.kill()

    def close(self) -> None:
        self._peer.close()

    def __enter__(self) -> "StageWorker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _known_key(request: Request) -> str | None:
    """The key, so that the worker need not read all sources too. Where there is none, it says why, with its log."""
    try:
        return request.key()
    except UserError:
        return None


def _plainly(message: str) -> str:
    """Signals by what they mean to a reader."""
    return message.replace(signal.SIGSEGV.name, "a segmentation fault (SIGSEGV)").replace(
        f"killed by {signal.SIGKILL.name}", f"killed by {signal.SIGKILL.name} (out of memory, or by hand)"
    )


def _revive(error: Mapping[str, Any]) -> RoasteryError:
    revived = _nearest(error["kinds"])(error["message"])
    revived.log = error["log"]
    return revived


def _nearest(kinds: Sequence[str]) -> type[RoasteryError]:
    """The nearest class that `roastery.errors` has. What the machine did (OSError) may pass."""
    for kind in kinds:
        if kind == OSError.__name__:
            return RuntimeFailed
        known = getattr(errors, kind, None)
        if isinstance(known, type) and issubclass(known, RoasteryError):
            return known
    return RoasteryError
