"""Processes of flow runs, forked off one that has imported everything: a registry of thousands in half the time.

    python -m forked_engine serve SOCKET
    python -S benchmarks/forked_engine.py SOCKET

The second is what a worker starts in place of `python -m prefect.engine`: it lets the first fork a process with its
environment, folder and streams, and ends as that does.
"""

import array
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

_STREAMS = (0, 1, 2)
_POLL_SECONDS = 0.02
_MOST_BYTES = 1 << 20


def ask(address: str) -> int:
    """Have a run's process forked; gives its exit code when it is over."""
    asked = {"environment": dict(os.environ), "folder": str(Path.cwd())}
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(address)
        streams = array.array("i", _STREAMS).tobytes()
        content = json.dumps(asked).encode()
        peer.sendmsg([len(content).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        peer.sendall(content)
        return int(peer.recv(16) or b"1")


def serve(address: str) -> None:
    """Fork a process for each that asks; a process that was forked returns when its run is over."""
    _import_everything()
    running: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        listener.settimeout(_POLL_SECONDS)
        while True:
            for pid, code in _ended(running):
                with running.pop(pid) as peer:
                    peer.sendall(str(code).encode())
            try:
                peer, _ = listener.accept()
            except TimeoutError:
                continue
            length, streams, *_ = socket.recv_fds(peer, 8, len(_STREAMS))
            content = b""
            while len(content) < int.from_bytes(length, "big"):
                content += peer.recv(_MOST_BYTES)
            pid = os.fork()
            if pid == 0:
                break
            running[pid] = peer
            for stream in streams:
                os.close(stream)
    for stream, own in zip(streams, _STREAMS, strict=True):
        os.dup2(stream, own)
    _run(**json.loads(content))


def _ended(running: dict[int, socket.socket]) -> Iterator[tuple[int, int]]:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def _import_everything() -> None:
    import importlib
    import threading

    for name in ("prefect.flow_engine", "prefect.engine", "simulated_stages", "mlflow.tracking", "mlflow.models"):
        importlib.import_module(name)
    importlib.import_module("roastery.registry.catalog")
    from roastery.stages import STAGES

    for stage in STAGES:
        importlib.import_module(f"roastery.stages.{stage}")
    # A thread would not be there in a fork, and what it holds would be held for ever.
    if threading.active_count() > 1:
        raise SystemExit(f"what was imported started {threading.enumerate()}")


def _run(environment: dict[str, str], folder: str) -> None:
    """Be `python -m prefect.engine`."""
    import runpy

    from prefect.context import refresh_global_settings_context

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    refresh_global_settings_context()
    sys.argv = ["prefect.engine"]
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(sys.argv[1]))
