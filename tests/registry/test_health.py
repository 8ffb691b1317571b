"""A registry is asked whether it can be used, and is never made or migrated."""

import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from roastery.doctor.finding import Check, bounded
from roastery.errors import RegistryRefused
from roastery.registry.database import make_database
from roastery.registry.health import look_at_registry

_ANSWERS = {"/version": (200, b"3.17.2"), "/api/2.0/mlflow/experiments/search": (200, b'{"experiments": []}')}


@pytest.fixture
def server() -> Iterator[Callable[[dict[str, tuple[int, bytes]]], str]]:
    """Start a server that gives statuses and contents by path; its address."""
    servers = []

    def start(answers: dict[str, tuple[int, bytes]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, content = answers.get(self.path.partition("?")[0], (404, b"{}"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, format: str, *args: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for each in servers:
        each.shutdown()
        each.server_close()


def test_a_database_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    found = look_at_registry(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert (found.state, "not there yet" in found.found) == ("ok", True)
    assert list(tmp_path.iterdir()) == []


def test_a_database_has_this_mlflows_tables_or_is_told_and_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a folder" / "mlflow.db"
    file.parent.mkdir()
    make_database(file)
    content = file.read_bytes()
    uri = f"sqlite:///{file}"
    assert look_at_registry(uri).state == "ok"
    assert file.read_bytes() == content
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'cfd24bdc0731'")
    content = file.read_bytes()
    found = look_at_registry(uri)
    assert (found.state, "cfd24bdc0731, not" in found.found, f"mlflow db upgrade {uri}" in found.way_out) == (
        *("wrong", True, True),
    )
    assert file.read_bytes() == content
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]


def test_a_database_of_something_else_is_wrong_and_an_empty_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    file.write_bytes(b"")
    assert look_at_registry(f"sqlite:///{file}").state == "ok"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE birds (name TEXT)")
    assert look_at_registry(f"sqlite:///{file}").state == "wrong"


def test_a_file_that_is_no_database_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)
    found = bounded(Check("MLflow store", lambda: look_at_registry(f"sqlite:///{tmp_path / 'mlflow.db'}")))
    assert (found.state, "not a database" in found.found, "restore it" in found.way_out) == ("wrong", True, True)


def test_a_server_that_answers_is_told_with_its_version(
    server: Callable[[dict[str, tuple[int, bytes]]], str],
) -> None:
    address = server(_ANSWERS)
    found = look_at_registry(address)
    assert (found.state, found.found) == ("ok", f"{address} answers: MLflow 3.17.2")


def test_a_version_that_is_none_is_not_told(server: Callable[[dict[str, tuple[int, bytes]]], str]) -> None:
    address = server(_ANSWERS | {"/version": (200, b"\x1b[2J<html>")})
    assert look_at_registry(address).found == f"{address} answers"


def test_a_server_that_wants_a_password_is_refused(server: Callable[[dict[str, tuple[int, bytes]]], str]) -> None:
    denied = b'{"error_code": "PERMISSION_DENIED", "message": "Permission denied"}'
    address = server({"/api/2.0/mlflow/experiments/search": (403, denied)})
    with pytest.raises(RegistryRefused, match="Permission denied"):
        look_at_registry(address)


def test_a_server_that_hangs_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        found = look_at_registry(f"http://127.0.0.1:{hanging.getsockname()[1]}")
    assert (found.state, found.found.endswith("cannot be asked: timed out")) == ("wrong", True)
    assert "ROASTERY_TRACKING_URI" in found.way_out


def test_a_server_that_hangs_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        address = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        found = bounded(Check("MLflow store", lambda: look_at_registry(address), seconds=2.0))
    assert (found.name, found.state, "timed out" in found.found) == ("MLflow store", "wrong", True)


def test_a_port_that_nobody_listens_on_is_wrong_with_the_way_out(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = look_at_registry(f"http://127.0.0.1:{free_port}")
    assert (found.state, "ROASTERY_TRACKING_URI" in found.way_out) == ("wrong", True)
    assert found.found == f"http://127.0.0.1:{free_port} cannot be asked: Connection refused"
