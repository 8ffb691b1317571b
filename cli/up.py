"""`roastery up`: a Prefect server, an MLflow server and the deployments, on this machine, in one process tree."""

import ipaddress
import queue
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.credentials import VARIABLE, read_credentials
from cli.environment import HOME
from cli.servers import Place, deployments_service, mlflow_service, prefect_service
from cli.service import RunningService, Service
from roastery.errors import ConfigError, RuntimeFailed
from roastery.project import load_project

_HEALTHY_SECONDS = 180.0
_END_SECONDS = 20.0


def up(
    home: Annotated[Path, typer.Option(help="Where everything is kept: databases, artifacts, logs.")] = HOME,
    configs: Annotated[Path, typer.Option(help="Folder of models/, datasets/ and pipeline.yaml.")] = Path("configs"),
    prefect_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Prefect server.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the MLflow server.")] = 5000,
    host: Annotated[
        str, typer.Option(help="Where the servers listen. Other than loopback, all who reach it can: --auth is a must.")
    ] = "127.0.0.1",
    processes: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Models at a time.  [default: pipeline.yaml's, else as the cores allow]"),
    ] = None,
    auth: Annotated[bool, typer.Option(help=f"Ask for the user and password that {VARIABLE} has (user:password).")] = (
        False
    ),
) -> None:
    """Start a Prefect server, an MLflow server and Roastery's deployments on this machine, until Ctrl-C.

    Runs are started in the Prefect UI, or by the schedules. Everything is kept in one folder; the next `roastery up`
    finds it.

    Examples:

    roastery up

    roastery up --home /srv/roastery --prefect-port 4300 --mlflow-port 5300

    ROASTERY_AUTH=team:a-long-password roastery up --auth --host 0.0.0.0
    """
    credentials = read_credentials() if auth else None
    if credentials is None and not _is_loopback(host):
        raise ConfigError(f"--host {host}: others would reach it without a password; add --auth, or leave it out")
    # What is wrong in it is said before anything is started.
    load_project(configs)
    for port, option in ((prefect_port, "--prefect-port"), (mlflow_port, "--mlflow-port")):
        _make_sure_free(host, port, option)
    place = Place(home.absolute(), host, prefect_port, mlflow_port)
    # Prefect's server makes its database there, and does not make the folder.
    (place.home / "prefect").mkdir(parents=True, exist_ok=True)
    keep_up(
        [prefect_service(place, credentials), mlflow_service(place, credentials)],
        [deployments_service(place, credentials, configs, processes)],
        lambda console: _say(console, place),
    )


def keep_up(servers: Sequence[Service], others: Sequence[Service], say: Callable[[Console], None]) -> None:
    """Start the servers, and when they are healthy the others; keep them until Ctrl-C or SIGTERM, then end them.

    Raises:
        RuntimeFailed: one did not become healthy, or ended by itself; the rest are ended then.
    """
    console = Console()
    ended: queue.SimpleQueue[RunningService] = queue.SimpleQueue()
    running: list[RunningService] = []
    with _interrupted_by_sigterm():
        try:
            for services in (servers, others):
                started = [RunningService(service, ended.put) for service in services]
                running += started
                for each in started:
                    with console.status(f"waiting for {each.service.name}"):
                        each.await_health(_HEALTHY_SECONDS)
            say(console)
            gone = ended.get()
            raise RuntimeFailed(f"{gone.service.name} ended; {gone.last_words()}")
        except KeyboardInterrupt:
            console.print("ending; Ctrl-C again ends it at once", markup=False)
        finally:
            _end(running)


def _end(running: list[RunningService]) -> None:
    """In the reverse order: deployments have things to tell the servers yet."""
    try:
        while running:
            running[-1].end(_END_SECONDS)
            running.pop()
    except KeyboardInterrupt:
        for each in running:
            each.kill()


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(console: Console, place: Place) -> None:
    for name, where in (("Prefect", place.prefect), ("MLflow", place.mlflow), ("kept in", str(place.home))):
        console.print(f"{name:<8} {where}", markup=False, highlight=False, soft_wrap=True)
    console.print("Ctrl-C ends it", markup=False)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _make_sure_free(host: str, port: int, option: str) -> None:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            # As servers do: a port whose last connection is not long over is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise ConfigError(f"{host}:{port}: {error.strerror}; name another port by {option}") from error
