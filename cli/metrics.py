"""`roastery metrics`: what the registry holds, for Prometheus."""

import re
import signal
import threading
from contextlib import suppress
from typing import Annotated

import typer

from cli.registry_options import PipelineOption, TrackingOption, open_registry
from roastery.errors import ConfigError, RegistryUnavailable

_LISTEN = re.compile(r"(?P<host>[^:/\s]+|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})")


def metrics(
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where Prometheus finds them, at /metrics.")
    ] = "127.0.0.1:9300",
    once: Annotated[bool, typer.Option("--once", help="Print them, and end.")] = False,
    pipeline: PipelineOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Serve what the registry holds to Prometheus: verdicts, AP and its differences, versions and their ages.

    Each scrape asks the registry anew. Runs are told by Prefect's server itself (PREFECT_SERVER_METRICS_ENABLED).

    Examples:

    roastery metrics

    roastery metrics --listen 10.0.0.7:9300 --tracking-uri http://mlflow.example:5000

    roastery metrics --once
    """
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server

    from roastery.registry.gauges import RegistryCollector

    place = _LISTEN.fullmatch(listen)
    if place is None or not 0 < int(place["port"]) < 65536:
        raise ConfigError(f"--listen {listen}: not an address and a port, as 127.0.0.1:9300")
    registry = open_registry(pipeline, tracking_uri)
    with suppress(RegistryUnavailable):
        # A server may be away for a while; a registry that is none is a mistake, and said at once.
        registry.models()
    gauges = CollectorRegistry()
    gauges.register(RegistryCollector(registry))
    if once:
        typer.echo(generate_latest(gauges).decode(), nl=False)
        return
    ended = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: ended.set())
    try:
        server, thread = start_http_server(int(place["port"]), place["host"].strip("[]"), gauges)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--listen {listen}: cannot be listened at ({error}); choose another port") from error
    typer.echo(f"metrics  http://{listen}/metrics\nCtrl-C ends it")
    ended.wait()
    server.shutdown()
    thread.join()
