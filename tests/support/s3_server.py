"""An S3 API, really started: moto's server, and the gate before it (`s3_gate.py`)."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GATE = Path(__file__).with_name("s3_gate.py")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "roaster",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
"""Variables of the environment, as a user sets them, and none of the machine's own."""


class S3Gate:
    """The gate before the S3 server (`s3_gate.py`): tell it what to refuse, and ask what went through."""

    def __init__(self, host: str, port: int) -> None:
        self.endpoint = f"http://{host}:{port}"

    def stop(self, method: str, path: str, answer: str, times: int) -> None:
        """Give this answer to the next so many requests of that method whose path has that part."""
        self._call("POST", {"method": method, "path": path, "answer": answer, "times": times})

    def open(self) -> None:
        """Let everything through again, and count from 0."""
        self._call("DELETE")

    @property
    def stopped(self) -> int:
        """How many requests it has stopped."""
        return int(self._call("GET")["stopped"])

    @property
    def asked(self) -> list[tuple[str, str, int, int]]:
        """What went through: method, path, bytes in, bytes out."""
        return [tuple(each) for each in self._call("GET")["asked"]]

    def _call(self, method: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        body = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/gate", body, method=method)) as reply:
            return dict(json.load(reply))


@contextmanager
def serving_s3(host: str = "127.0.0.1") -> Iterator[S3Gate]:
    """A server behind a gate that listens at that address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    moto = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], **quiet)
    gate = subprocess.Popen([sys.executable, GATE, str(port), host], stdout=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert moto.poll() is None, "moto's server ended"
            assert time.monotonic() < deadline, "moto's server does not answer"
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        assert gate.stdout is not None
        yield S3Gate(host, int(gate.stdout.readline()))
    finally:
        for process in (moto, gate):
            process.kill()
            process.communicate()
