"""What fleets cost beside their conversions: time, memory, requests and database rows a model, as a registry grows.

    python benchmarks/scale.py [--registry 10,100,1000] [--filed 0] [--changed 10] [--workers 2] [--limit 2] [--query 2]
        [--idle 120] [--forked] [--json FILE]

A whole installation on this machine: Prefect's and MLflow's records in a PostgreSQL of its own, both servers, a worker
of fleets and some of models. Its conversions are simulated (benchmarks/simulated_stages.py): what is left is what the
fleet itself costs. Each time the registry has grown, a fleet converts what is new. After the last some models change,
and two more fleets find them. A line as each fleet ends, and tables in the end. 1,000 models take two hours on two
cores; an hour with `--forked`, whose runs do not import what they are made of (benchmarks/forked_engine.py).
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from postgres_server import PostgresServer
from rich.console import Console
from rich.table import Table
from scale_installation import Installation, Measured

FOUND_SECONDS = 60.0
"""In which what changed is to be found and dispatched."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what fleets cost beside their conversions.")
    parser.add_argument("--registry", default="10,100,1000", help="models, as they become more (default 10,100,1000)")
    parser.add_argument("--filed", type=int, default=0, help="models that are there before, filed without a fleet")
    parser.add_argument("--changed", type=int, default=10, help="models that change after the last (default 10)")
    parser.add_argument("--workers", type=int, default=2, help="workers of models (default 2)")
    parser.add_argument("--limit", type=int, default=2, help="runs at a time of each (default 2)")
    parser.add_argument("--query", type=float, default=2, help="seconds after which each asks for runs (default 2)")
    parser.add_argument("--forked", action="store_true", help="fork runs off a process that has imported everything")
    parser.add_argument("--idle", type=float, default=120, help="seconds to look at an idle server (default 120)")
    parser.add_argument("--json", type=Path, help="write the figures there too, as each fleet ends")
    arguments = parser.parse_args()
    # All that it has started ends with it, however it is ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    console = Console()
    figures: dict[str, Any] = {}

    def keep(name: str, figure: Any) -> None:
        figures[name] = asdict(figure) if isinstance(figure, Measured) else figure
        if isinstance(figure, Measured):
            console.print(f"{name}: {figure.models} models, {figure.runs} runs, {figure.seconds:.0f} s", soft_wrap=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=1))

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roastery-scale-")))
        postgres = PostgresServer()
        stack.callback(postgres.close)
        postgres.start()
        installation = Installation(folder, postgres)
        stack.callback(installation.close)
        installation.start(arguments.workers, arguments.limit, arguments.query, arguments.forked)
        keep("idle", installation.idle(arguments.idle))
        if arguments.filed:
            installation.file(arguments.filed)
        fleets: list[Measured] = []
        for models in (int(each) for each in arguments.registry.split(",") if each):
            installation.register(models)
            fleets.append(installation.measure("new or changed"))
            keep(f"{models} models", fleets[-1])
        found = {}
        for place, only in enumerate(("new or changed", "all"), 1):
            for number in range(arguments.changed):
                installation.change(number, 0.5 + 0.1 * place + 1e-5 * number)
            found[only] = installation.measure(only)
            keep(f"changed, asked for {only}", found[only])
    if fleets:
        show(console, figures["idle"], fleets)
    show_found(console, found)


def show(console: Console, idle: float, fleets: list[Measured]) -> None:
    table = Table(title="A model's conversion, beside the conversion itself")
    table.add_column("a registry that has grown to")
    for fleet in fleets:
        table.add_column(f"{fleet.models:,}", justify="right")

    def add(what: str, values: list[float], digits: int = 1) -> None:
        table.add_row(what, *(f"{value:,.{digits}f}" for value in values))

    add("seconds", [fleet.seconds / fleet.runs for fleet in fleets], 2)
    for name in fleets[0].cpu_seconds:
        add(f"processor seconds, {name}", [fleet.cpu_seconds[name] / fleet.runs for fleet in fleets], 2)
    add("requests to Prefect's server", [fleet.requests / fleet.runs for fleet in fleets])
    for name in fleets[0].rows:
        add(f"rows, {name}", [sum(fleet.rows[name].values()) / fleet.runs for fleet in fleets])
        add(f"KiB, database of {name}", [fleet.database_bytes[name] / 1024 / fleet.runs for fleet in fleets])
    add("files in the store", [fleet.store_files / fleet.runs for fleet in fleets])
    add("KiB in the store", [fleet.store_bytes / 1024 / fleet.runs for fleet in fleets])
    table.add_section()
    for name in fleets[0].peak_mb:
        add(f"most memory of all, MiB, {name}", [fleet.peak_mb[name] for fleet in fleets], 0)
    console.print(table)
    console.print(f"Requests a minute to Prefect's server while nothing is to be done: {idle:.1f}")


def show_found(console: Console, found: Mapping[str, Measured]) -> None:
    table = Table(title="Models that changed, found and dispatched")
    for heading in ("fleet of", "models", "runs", "dispatched, s", "should be", "whole, s"):
        table.add_column(heading, justify="right")
    for only, fleet in found.items():
        bound = f"under {FOUND_SECONDS:g}"
        seconds = f"{fleet.found_seconds:.1f}", bound, f"{fleet.seconds:.1f}"
        table.add_row(only, f"{fleet.models:,}", str(fleet.runs), *seconds)
    console.print(table)


if __name__ == "__main__":
    main()
