"""A Prefect server for one command, where the user names none; it ends with the command, however that ends.

Prefect's own temporary server outlives a command that is killed: each death would leave one, and all of them would work
on one database. This one's stdin is a pipe of the command's, which the operating system closes. It says its port before
it imports anything heavy, so that it starts while the command imports too: a request that comes early waits in the
port's queue.
"""

import atexit
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from roastery.errors import RuntimeFailed

if TYPE_CHECKING:
    from uvicorn import Server

_HOST = "127.0.0.1"
_GRACE_SECONDS = 5.0


@contextmanager
def prefect_server() -> Iterator[Callable[[], None]]:
    """Let flows that are run in the block have a server: the one that Prefect's settings name, else one of our own.

    Gives a function that waits until the server answers.

    Raises:
        RuntimeFailed: our own did not start. What it said stands on stderr.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings, temporary_settings

    settings = get_current_settings()
    if settings.api.url is not None or not settings.server.ephemeral.enabled:
        yield lambda: None
        return
    server = _Process()
    # After Prefect's own threads, which tell the server the last things when the interpreter ends.
    atexit.register(server.end)
    # Not only in this context: those threads know of none.
    os.environ["PREFECT_API_URL"] = f"http://{_HOST}:{server.port}/api"
    refresh_global_settings_context()
    # Heartbeats are for a server that outlives the run, and each flow run waits up to a second for its last one to end.
    with temporary_settings({"flows.heartbeat_frequency": None}):
        yield lambda: server.wait(settings.server.ephemeral.startup_timeout_seconds)


class _Process:
    """The server, as the command sees it. `port` is where it listens."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            # -P: a folder `cli` where the user stands is not meant.
            [sys.executable, "-P", "-m", "cli.prefect_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for the command, which has things to tell the server yet.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            raise RuntimeFailed(f"Prefect's server ended with exit code {self._process.wait()} before it had begun")
        self.port = int(said)

    def wait(self, timeout: float) -> None:
        """Wait until it answers.

        Raises:
            RuntimeFailed: it ended, or took longer.
        """
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=timeout)
        try:
            connection.request("GET", "/api/health")
            status = connection.getresponse().status
        except TimeoutError as error:
            raise RuntimeFailed(f"Prefect's server did not answer within {timeout:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise RuntimeFailed("Prefect's server ended before it had answered") from error
        finally:
            connection.close()
        if status != http.client.OK:
            raise RuntimeFailed(f"Prefect's server is not well: it answered {status}")

    def end(self) -> None:
        """Let it write down what it was told, and end."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(2 * _GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Serve until stdin ends."""
    listening = socket.create_server((_HOST, 0), backlog=1024)
    # Connections inherit it. asyncio sets it only for sockets that were made with a protocol's number, and without it
    # every answer waits 40 ms for the client's delayed acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(listening.getsockname()[1], flush=True)  # noqa: T201
    os.dup2(2, 1)
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=True, final=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1))
    threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
    server.run(sockets=[listening])
    # All is written down. Taking a large interpreter apart would only keep the command waiting.
    os._exit(0)


def _end_with_stdin(server: "Server") -> None:
    while os.read(0, 1):
        pass
    server.should_exit = True
    time.sleep(_GRACE_SECONDS)
    # Something in it hangs, and nobody is there any more to kill it.
    os._exit(1)


if __name__ == "__main__":
    main()
