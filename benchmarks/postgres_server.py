"""A PostgreSQL server of one's own: a fresh database on a free port of loopback, which goes with the block."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_USER = "postgres"
"""Debian's own. PostgreSQL does not run as root."""


def find_postgres() -> Path | None:
    """The folder of `initdb` and `postgres`; None where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of a fresh database, for MLflow.

    Raises:
        RuntimeError: PostgreSQL is not installed, or does not start.
    """
    programs = find_postgres()
    if programs is None:
        raise RuntimeError("PostgreSQL is not installed; install Debian's postgresql")
    as_user: dict[str, Any] = {"user": _USER, "group": _USER, "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="roastery-postgres-"))
    try:
        if as_user:
            shutil.chown(folder, _USER, _USER)
        data = folder / "data"
        quiet: dict[str, Any] = {"capture_output": True, "cwd": folder, **as_user}
        made: list[str | Path] = [programs / "initdb", "-D", data, "-U", "roastery", "-A", "trust", "--no-sync"]
        subprocess.run(made, check=True, **quiet)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        started: list[str | Path] = [
            programs / "pg_ctl",
            "-D",
            data,
            "-w",
            "-t",
            "60",
            "-l",
            folder / "log",
            "-o",
            options,
            "start",
        ]
        # Its server would keep a pipe open.
        silent: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(started, check=True, cwd=folder, **silent, **as_user)
        try:
            created: list[str | Path] = [programs / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "roastery"]
            subprocess.run([*created, "mlflow"], check=True, **quiet)
            yield f"postgresql://roastery@127.0.0.1:{port}/mlflow"
        finally:
            subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], check=True, **quiet)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
