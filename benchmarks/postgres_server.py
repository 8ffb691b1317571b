"""A PostgreSQL server of one's own: fresh databases on a free port of loopback, which go with it."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

_USER = "postgres"
"""Debian's own. PostgreSQL does not run as root."""
_QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def find_postgres() -> Path | None:
    """The folder of `initdb` and `postgres`; None where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


class PostgresServer:
    """A server that runs once `start` has been called.

    Raises:
        RuntimeError: PostgreSQL is not installed.
    """

    def __init__(self) -> None:
        programs = find_postgres()
        if programs is None:
            raise RuntimeError("PostgreSQL is not installed; install Debian's postgresql")
        self._programs = programs
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": _USER, "group": _USER, "extra_groups": []}
        self._folder = Path(tempfile.mkdtemp(prefix="roastery-postgres-"))
        self._data = self._folder / "data"
        if self._user:
            shutil.chown(self._folder, _USER, _USER)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._run("initdb", "-D", self._data, "-U", "roastery", "-A", "trust", "--no-sync")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        options += " -c max_connections=200"
        log = self._folder / "log"
        self._run("pg_ctl", "-D", self._data, "-w", "-t", "60", "-l", log, "-o", options, "start")

    def create(self, database: str) -> str:
        """Make a database; gives its address without a driver: `//roastery@127.0.0.1:PORT/NAME`."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "roastery", database)
        return f"//roastery@127.0.0.1:{self.port}/{database}"

    def ask(self, database: str, query: str) -> str:
        """What a query gives: rows as lines, columns between bars."""
        told: list[str | Path] = [self._programs / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "roastery"]
        answer = subprocess.run([*told, "-Atc", query, database], check=True, capture_output=True, text=True)
        return answer.stdout.strip()

    def kill(self) -> None:
        """SIGKILL to it and all its processes, as when the machine loses its power."""
        first = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        # The first would start others in place of one that dies.
        for process in (first, *first.children(recursive=True)):
            process.kill()
        psutil.wait_procs([first], timeout=10)

    def close(self) -> None:
        """Stop it, if it runs, and remove what it kept."""
        try:
            if self._call("pg_ctl", "-D", self._data, "status").returncode == 0:
                self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str | Path) -> None:
        self._call(program, *arguments).check_returncode()

    def _call(self, program: str, *arguments: str | Path) -> "subprocess.CompletedProcess[bytes]":
        command: list[str | Path] = [self._programs / program, *arguments]
        # A server that is started would keep a pipe open.
        return subprocess.run(command, check=False, cwd=self._folder, **_QUIET, **self._user)


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of a fresh database, for MLflow.

    Raises:
        RuntimeError: PostgreSQL is not installed.
    """
    server = PostgresServer()
    try:
        server.start()
        yield f"postgresql:{server.create('mlflow')}"
    finally:
        server.close()
