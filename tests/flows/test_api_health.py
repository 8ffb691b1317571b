"""The Prefect API that the settings name is asked, and one that hangs is told in time."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import prefect
import pytest
from prefect.settings import temporary_settings

from flows import api_health
from flows.api_health import look_at_prefect


class _Api(BaseHTTPRequestHandler):
    version = prefect.__version__

    def do_GET(self) -> None:
        answers = {"/api/health": True, "/api/admin/version": self.version}
        content = json.dumps(answers.get(self.path)).encode()
        self.send_response(200 if self.path in answers else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _named(address: str | None) -> Iterator[None]:
    with temporary_settings({"api.url": address}):
        yield


def test_no_api_is_named_and_that_is_well() -> None:
    with _named(None):
        found = look_at_prefect()
    assert (found.state, "starts its own" in found.found) == ("ok", True)


@pytest.mark.parametrize(
    ("version", "state", "said"),
    [
        (prefect.__version__, "ok", f": Prefect {prefect.__version__}"),
        ("3.999.0", "ok", ": Prefect 3.999.0"),
        ("3.0.0", "warning", f": Prefect 3.0.0, and here is {prefect.__version__}"),
        ("2.20.1", "wrong", f": Prefect 2.20.1, and here is {prefect.__version__}"),
        ("\x1b[2J", "wrong", " does not answer: Invalid version: '\\x1b[2J'"),
    ],
    ids=["same", "newer", "older", "another major", "none"],
)
def test_an_api_that_answers_is_told_with_its_version(
    monkeypatch: pytest.MonkeyPatch, version: str, state: str, said: str
) -> None:
    monkeypatch.setattr(_Api, "version", version)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/api"
        with _named(address):
            found = look_at_prefect()
        server.shutdown()
    assert (found.state, found.found) == (state, f"{address}{said}")
    assert bool(found.way_out) == (state != "ok")


def test_an_api_that_hangs_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_health, "_SECONDS", 0.3)
    with (
        socket.create_server(("127.0.0.1", 0)) as hanging,
        _named(f"http://127.0.0.1:{hanging.getsockname()[1]}/api"),
    ):
        found = look_at_prefect()
    assert (found.state, "timed out" in found.found) == ("wrong", True)
    assert "PREFECT_API_URL" in found.way_out


def test_an_api_that_nobody_listens_on_is_told_without_the_password_in_its_address(
    free_port: Callable[[], int],
) -> None:
    with _named(f"http://team:planted-password@127.0.0.1:{free_port()}/api"):
        found = look_at_prefect()
    assert found.state == "wrong"
    assert "planted-password" not in f"{found}"
