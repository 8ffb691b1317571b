"""A Prefect server as its users see it: by its API."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import runs
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_fixed

PATIENCE_SECONDS = 120.0
DEPLOYMENTS = Path(__file__).parent.parent.parent / "deployments"
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, urllib.error.HTTPError) and error.code == 503


@retry(retry=retry_if_exception(_is_busy), wait=wait_fixed(1), stop=stop_after_attempt(20), reraise=True)
def _answer(request: urllib.request.Request) -> bytes:
    """Of a server whose database another program holds for a moment: Prefect's own client asks it again, too."""
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


def deploy(run: Callable[..., str]) -> None:
    """What `deployments/` says, by a function that runs a program of the installation."""
    run("deployments.install")
    run("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(DEPLOYMENTS / "prefect.yaml"))


class Asked:
    """A Prefect server as its users see it: by its API.

    Args:
        prefect: its address.
        logs: the folder of what its programs say.
    """

    patience = PATIENCE_SECONDS
    """How long an event is waited for."""

    def __init__(self, prefect: str, logs: Path) -> None:
        self.api = f"{prefect}/api"
        self.logs = logs

    def ask(self, path: str, content: Any = None, method: str = "") -> Any:
        """Ask the server."""
        request = urllib.request.Request(
            self.api + path,
            None if content is None else json.dumps(content).encode(),
            {"Content-Type": "application/json"},
            method=method or ("GET" if content is None else "POST"),
        )
        content = _answer(request)
        return json.loads(content) if content else None

    def refusal(self, path: str, content: Any) -> tuple[int, str]:
        """What the server refuses a request with."""
        with pytest.raises(urllib.error.HTTPError) as refused:
            self.ask(path, content)
        return refused.value.code, refused.value.read().decode()

    def deployment(self, name: str) -> Any:
        """A deployment, by "flow/deployment"."""
        return self.ask(f"/deployments/name/{name}")

    def trigger(self, deployment: str, **parameters: Any) -> str:
        """Start a run, as the UI's form does; gives its id."""
        content = {"parameters": parameters, "state": {"type": "SCHEDULED"}, "enforce_parameter_schema": True}
        made = self.ask(f"/deployments/{self.deployment(deployment)['id']}/create_flow_run", content)
        return str(made["id"])

    def flow_run(self, run: str) -> Any:
        return self.ask(f"/flow_runs/{run}")

    def await_final(self, run: str) -> Any:
        """A run when it is over."""
        return self.await_that(lambda: self._over(run))

    def _over(self, run: str) -> Any:
        there = self.flow_run(run)
        return there if there["state"]["type"] in FINAL else None

    def await_that(self, event: Callable[[], Any]) -> Any:
        """Wait for an event; gives what it gives."""
        deadline = time.monotonic() + self.patience
        while not (found := event()):
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)
        return found

    def await_gone(self, processes: list[psutil.Process]) -> None:
        """Wait until none of them runs."""
        self.await_that(lambda: not any(runs(process) for process in processes))

    def artifact(self, key: str, run: str) -> Any:
        """The one artifact of that key that a run left."""
        wanted = {"artifacts": {"key": {"any_": [key]}, "flow_run_id": {"any_": [run]}}}
        (found,) = self.ask("/artifacts/filter", wanted)
        return found

    def said(self) -> str:
        """The last of all logs."""
        return "\n".join(f"{log.name}: {log.read_text()[-3000:]}" for log in sorted(self.logs.glob("*.log")))
