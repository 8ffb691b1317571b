"""What the registry's answers cost: every question to a registry of many models, on SQLite and on PostgreSQL.

    python benchmarks/registry.py [--models N] [--versions N] [--json FILE]

Each model has a registered source and so many converted versions, each with the tags, figures and logged model that a
conversion files (without a net: no question but `fetch` and `show` reads files). Asked are the Python API in a process
that has asked before, and the command in a process of its own, which imports MLflow first. Prints a table, and what the
slowest may take.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from postgres_server import postgres_server
from rich.console import Console
from rich.progress import track
from rich.table import Table

from roastery.registry.registry import Registry

MOST_SECONDS = 2.0
_TIMES = 5
_MODEL_TAGS = ("verdict", "judged_by")
_CLASSES = 80
"""As COCO has: a figure for each, of each target and IoU type."""


def fill(registry: Registry, models: int, versions: int, console: Console) -> None:
    """File sources and conversions, all alike but for names, digests and figures."""
    from mlflow.entities import Metric, Param

    client = registry.catalog.client
    experiment = client.create_experiment(registry.catalog.experiment)
    for number in track(range(models), f"filing {models} models", console=console, transient=True):
        name, passed = f"model_{number:04}", number % 10 != 0
        source = {"source_sha256": f"{number:064x}", "config_sha256": "c" * 64, "family": "GeneralizedRCNN"}
        client.create_registered_model(name)
        client.create_model_version(name, f"file:///nowhere/{name}", tags={**source, "checkpoint": "model_final.pth"})
        client.create_registered_model(f"{name}.caffe2")
        for version in range(1, versions + 1):
            delta = -0.5 if not passed else 0.0
            figures = {"ap_bbox": 40.0 + delta, "ap_original_bbox": 40.0, "ap_delta_bbox": delta}
            others = ("AP", "AP50", "AP75", "APs", "APm", "APl")
            figures |= {f"{who}/bbox/{n}": 40.0 for who in ("original", "torch", "caffe2") for n in others}
            figures |= {f"delta/{who}/bbox/{n}": delta for who in ("torch", "caffe2") for n in others}
            figures |= {"latency_ms/caffe2/median": 20.0 + number % 10, "latency_ms/original/median": 25.0}
            of_classes = {f"{who}/bbox/AP-{n}": 40.0 for who in ("original", "caffe2") for n in range(_CLASSES)}
            run = client.create_run(experiment, tags={"roastery.key": f"{name}.{version}"}, run_name=name)
            tags = {
                "verdict": "passed" if passed else "failed",
                "judged_by": "caffe2",
                "roastery_version": "0.1.0",
                "dataset": "coco_2017_val",
                **source,
                **{key: f"{value:.4f}" for key, value in figures.items() if key.startswith("ap_")},
            }
            newest = {"roastery.kind": "converted", "roastery.of": name, "roastery.key": f"{name}.{version}"}
            newest |= {"roastery.newest": "yes"} if version == versions else {}
            model = client.create_logged_model(
                experiment, name, run.info.run_id, tags={**newest, **{key: tags[key] for key in _MODEL_TAGS}}
            )
            points = [Metric(*each, run.info.start_time, 0) for each in of_classes.items()]
            points += [Metric(*each, run.info.start_time, 0, model_id=model.model_id) for each in figures.items()]
            params = [Param(f"version/{n}", "1.0") for n in range(30)]
            client.log_batch(run.info.run_id, metrics=points, params=params)
            client.finalize_logged_model(model.model_id, "READY")
            client.create_model_version(
                f"{name}.caffe2",
                f"file:///nowhere/{name}",
                run.info.run_id,
                tags={**tags, "model_id": model.model_id},
                model_id=model.model_id,
            )
        if passed:
            client.set_registered_model_alias(f"{name}.caffe2", "candidate", str(versions))


def questions(versions: int) -> dict[str, tuple[Callable[[Registry], Any], list[str]]]:
    """What is asked: of the Python API, and of the command."""
    last = f"model_0001/{versions}"
    return {
        "models": (lambda registry: registry.models(), ["models", "--json"]),
        "models --failed": (lambda registry: registry.models(failed=True), ["models", "--failed", "--json"]),
        "models --stale": (lambda registry: registry.models(stale=True), ["models", "--stale", "--json"]),
        "models --where of AP": (
            lambda registry: registry.models(where="ap_delta_bbox < -0.1"),
            ["models", "--where", "ap_delta_bbox < -0.1", "--json"],
        ),
        "models --where of latency, a tenth": (
            lambda registry: registry.models(where="latency_ms/caffe2/median > 28.5"),
            ["models", "--where", "latency_ms/caffe2/median > 28.5", "--json"],
        ),
        "models --where of latency, all": (
            lambda registry: registry.models(where="latency_ms/caffe2/median > 1"),
            ["models", "--where", "latency_ms/caffe2/median > 1", "--json"],
        ),
        "show": (lambda registry: registry.show(last), ["show", last, "--json"]),
        "diff": (lambda registry: registry.diff("model_0001", 1, versions), ["diff", "model_0001", "1", str(versions)]),
        "history": (lambda registry: registry.history("model_0001"), ["history", "model_0001"]),
        "converted (what a fleet asks)": (lambda registry: registry.catalog.converted(), []),
    }


def measure(uri: str, versions: int) -> dict[str, tuple[float, float | None]]:
    """Question to the seconds of the API (the median), and of the command (the median of fewer)."""
    registry = Registry(uri)
    found = {}
    for name, (ask, command) in questions(versions).items():
        ask(registry)
        api = statistics.median(_seconds(partial(ask, registry)) for _ in range(_TIMES))
        whole = None
        if command:
            line = [sys.executable, "-m", "cli.main", *command, "--tracking-uri", uri]
            run = partial(subprocess.run, line, check=True, stdout=subprocess.DEVNULL)
            whole = statistics.median(_seconds(run) for _ in range(3))
        found[name] = (api, whole)
    return found


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--versions", type=int, default=3, help="converted versions of each (default: 3)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    asked = parser.parse_args()
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    console = Console()
    figures: dict[str, dict[str, tuple[float, float | None]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for kind, server in (
            ("SQLite", nullcontext(f"sqlite:///{folder}/mlflow.db")),
            ("PostgreSQL", postgres_server()),
        ):
            with server as uri:
                fill(Registry(uri), asked.models, asked.versions, console)
                figures[kind] = measure(uri, asked.versions)
    table = Table(title=f"{asked.models} models of {asked.versions} versions, seconds (at most {MOST_SECONDS:.0f})")
    table.add_column("question")
    for kind in figures:
        table.add_column(f"{kind}, Python", justify="right")
        table.add_column(f"{kind}, command", justify="right")
    for name in questions(asked.versions):
        cells = []
        for each in figures.values():
            for seconds in each[name]:
                colour = "red" if seconds is not None and seconds > MOST_SECONDS else "green"
                cells.append("" if seconds is None else f"[{colour}]{seconds:.2f}[/{colour}]")
        table.add_row(name, *cells)
    console.print(table)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
