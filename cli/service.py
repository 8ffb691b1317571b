"""A long-running process of another program: started, watched until it is healthy, ended with all that it started."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from roastery.errors import RuntimeFailed

_POLL_SECONDS = 0.2
_LAST_LINES = 5


@dataclass(frozen=True)
class Service:
    """What is started, and how it shows that it is there.

    Attributes:
        name: for messages.
        command: program and arguments. No secret stands in them: everybody on the machine sees them.
        environment: variables over this process's own.
        log: what it says is added to this file.
        health: an address that answers 200 when it is healthy; None: it says `ready` in its log.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    health: str | None = None
    ready: str = ""


class RunningService:
    """A service that was started. It ends when this process does, however that ends: see `cli/kept_process.py`."""

    def __init__(self, service: Service, on_end: Callable[["RunningService"], None]) -> None:
        self.service = service
        service.log.parent.mkdir(parents=True, exist_ok=True)
        self._said_before = service.log.stat().st_size if service.log.exists() else 0
        with service.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cli.kept_process", *service.command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **service.environment},
                # Ctrl-C is for this process, which ends the services in their order.
                start_new_session=True,
            )
        threading.Thread(target=self._await, args=(on_end,), daemon=True).start()

    def await_health(self, seconds: float) -> None:
        """Wait until it is healthy.

        Raises:
            RuntimeFailed: it ended, or took longer. The message has its last lines.
        """
        deadline = time.monotonic() + seconds
        while not self._is_healthy():
            if self._process.poll() is not None:
                raise RuntimeFailed(f"{self.service.name} ended before it was there: {self.last_words()}")
            if time.monotonic() >= deadline:
                raise RuntimeFailed(f"{self.service.name} was not there within {seconds:g} s: {self.last_words()}")
            time.sleep(_POLL_SECONDS)

    def last_words(self) -> str:
        """Where its log is, with the last of it."""
        lines = self._said().strip().splitlines()[-_LAST_LINES:]
        return f"see {self.service.log}: {' | '.join(line.strip() for line in lines) or 'it said nothing'}"

    def end(self, seconds: float) -> None:
        """Let it end by itself, and kill it, with all that it started, after so long."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill it, and all that it started."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._process.pid)
            for each in [*process.children(recursive=True), process]:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        self._process.wait()

    def _is_healthy(self) -> bool:
        if self.service.health is None:
            return self.service.ready in self._said().splitlines()
        try:
            # Whatever proxy the environment names is for other addresses.
            return httpx.get(self.service.health, timeout=5.0, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _said(self) -> str:
        """Since it was started."""
        with self.service.log.open("rb") as log:
            log.seek(self._said_before)
            return log.read().decode(errors="replace")

    def _await(self, on_end: Callable[["RunningService"], None]) -> None:
        self._process.wait()
        on_end(self)
