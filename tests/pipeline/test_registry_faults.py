"""A registry that is killed, down or busy while the real command files a conversion: it ends in one right version."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(300)]

STARTS_WITHIN_SECONDS = 120
PATIENT = {"retries": {"times": 6, "delay": 1.0}}
"""Retries that outlast the start of a server."""


class Server:
    """`mlflow server` over a database of its own, at an address that it keeps."""

    def __init__(self, folder: Path, database: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.database = folder / "server.db"
        shutil.copy(database, self.database)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.database}", "--workers", "1"]
        command += ["--artifacts-destination", str(self._folder / "kept")]
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=self._folder, start_new_session=True
            )
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while time.monotonic() < deadline:
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        pytest.fail(f"no server: {(self._folder / 'server.log').read_text()}")

    def kill(self) -> None:
        """SIGKILL to it and to its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's empty tables, made once."""
    from roastery.registry.database import make_database

    database = tmp_path_factory.mktemp("registry") / "empty.db"
    make_database(database)
    return database


@pytest.fixture
def filing(undisturbed: Any, project: Any, empty_database: Path) -> Any:
    """A project that has a conversion's artifacts, and an empty registry."""
    project.share(undisturbed, until="log")
    shutil.copy(empty_database, project.database)
    return project


@pytest.fixture
def server(filing: Any, empty_database: Path) -> Iterator[Server]:
    """A server which is not started yet, and which the project files in."""
    server = Server(filing.folder, empty_database)
    filing.tracking_uri = server.address
    yield server
    server.kill()


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query).fetchall()


def failure_of(project: Any) -> Path:
    """What the log task leaves when it fails, and removes when it does not."""
    return Path(project.store / "failures" / project.name / "log" / "failure.md")


def words_of(project: Any) -> str:
    """What it says, as far as it is written."""
    return failure_of(project).read_text() if failure_of(project).exists() else ""


def check_one_version(project: Any, database: Path) -> None:
    """One version, of one finished run, with all of the model's files as they are in the store."""
    assert rows(database, "select name, version from model_versions") == [(f"{project.name}.caffe2", 1)]
    assert rows(database, "select status from runs") == [("FINISHED",)]
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=project.tracking_uri, registry_uri=project.tracking_uri)
    version = client.get_model_version_by_alias(f"{project.name}.caffe2", "candidate")
    place = client.get_model_version_download_uri(version.name, version.version)
    filed = Path(mlflow.artifacts.download_artifacts(place, tracking_uri=project.tracking_uri))
    made = [
        file
        for stage in ("convert", "export_onnx")
        for file in project.store.glob(f"{stage}/*/model*")
        if file.suffix != ".pt2"
    ]
    assert {file.name for file in filed.glob("model*")} == {file.name for file in made}
    assert {"model.pb", "model_init.pb", "model.onnx"} <= {file.name for file in made}
    for file in made:
        assert (filed / file.name).read_bytes() == file.read_bytes()
    assert not failure_of(project).exists()


def test_a_server_killed_while_it_files_and_started_again_has_one_version(filing: Any, server: Server) -> None:
    server.start()
    filing.pipeline = PATIENT
    run = filing.start()
    run.await_event(lambda: rows(server.database, "select 1 from runs"))
    server.kill()
    assert rows(server.database, "select 1 from model_versions") == []
    run.await_event(failure_of(filing).exists)
    server.start()
    assert run.end() == 0, run.said
    check_one_version(filing, server.database)


def test_a_server_that_stays_down_fails_the_log_stage_in_a_line_and_the_same_command_files_later(
    filing: Any, server: Server
) -> None:
    filing.pipeline = {"retries": {"times": 1, "delay": 0}}
    run = filing.start()
    assert run.end() == 1, run.said
    lines = run.said.splitlines()
    (said,) = [line for line in lines if line.startswith(f"{filing.name}: failed in ")]
    assert said.startswith(f"{filing.name}: failed in log: {server.address}: ")
    assert "refused" in said
    assert f"  look here:  {failure_of(filing).parent}" in lines
    server.start()
    filing.run()
    check_one_version(filing, server.database)


def test_a_sqlite_registry_that_another_process_holds_is_asked_again_once_it_lets_go(filing: Any) -> None:
    filing.pipeline = PATIENT
    with closing(sqlite3.connect(filing.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        run = filing.start()
        # Longer than SQLite waits by itself: the task has failed by then.
        run.await_event(lambda: "database is locked" in words_of(filing))
        other.execute("ROLLBACK")
    assert run.end() == 0, run.said
    check_one_version(filing, filing.database)


def test_a_run_goes_on_once_prefects_database_is_free_again(
    undisturbed: Any, project: Any, empty_database: Path
) -> None:
    project.share(undisturbed, until="report")
    shutil.copy(empty_database, project.database)
    run = project.start()
    run.await_event(lambda: project.is_begun("report"))
    database = project.home / "prefect.db"
    with closing(sqlite3.connect(database, isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN EXCLUSIVE")
        begun = rows(database, "select id, state_type from flow_run order by id")
        # Prefect's server waits for ten seconds at a time.
        until = time.monotonic() + 12.0
        while time.monotonic() < until:
            assert run.process.poll() is None, run.said
            time.sleep(0.1)
        # The work is done, and what is left to do is to tell Prefect so.
        assert set(project.artifacts()) == set(undisturbed.artifacts())
        assert {state for _, state in begun} == {"RUNNING"}
        assert rows(database, "select id, state_type from flow_run order by id") == begun
        other.execute("ROLLBACK")
    assert run.end() == 0, run.said
    assert {state for (state,) in rows(database, "select state_type from flow_run")} == {"COMPLETED"}
    check_one_version(project, project.database)
