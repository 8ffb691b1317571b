"""What a fleet costs: conversions an hour by processes and threads, orchestration's share, and a fleet without news.

    python benchmarks/fleet.py [--models N] [--rates N] [--json FILE]

Each figure is of `roastery run` in a process of its own, on small models (a demo model of four images, under as many
names and thresholds), with nothing in the store at first. Prints a table, and beside each ratio what it should be.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from few_images import ROOT, configure
from rich.console import Console
from rich.table import Table

MOST_ORCHESTRATION = 0.15
MOST_RERUN = 0.03
LEAST_GAIN = 1.7


@dataclass(frozen=True)
class Measured:
    """One `roastery run` from its start to its end, and what its models' runs are made of, summed over them."""

    seconds: float
    fleet_seconds: float
    """Of the fleet's own run: a server that stays, and is warm, has nothing else to do."""
    models: int
    runs_seconds: float
    """From where a model's run is made known to Prefect, before its process starts, to its end."""
    work_seconds: float
    """Of that, in the stages, and filing in MLflow."""

    @property
    def an_hour(self) -> float:
        return 3600 * self.models / self.fleet_seconds

    @property
    def orchestration(self) -> float:
        return 1 - self.work_seconds / self.runs_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what a fleet costs.")
    parser.add_argument("--models", type=int, default=100, help="models of the fleet that is run again (default 100)")
    parser.add_argument("--rates", type=int, default=6, help="models for each rate (default 6)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="roastery-bench-") as name:
        folder = Path(name)
        # Files and imports are warm after it.
        run(folder / "warm", 1, 1, 1)
        one = run(folder / "1x1", arguments.rates, 1, 1)
        two = run(folder / "2x1", arguments.rates, 2, 1)
        wide = run(folder / "1x2", arguments.rates, 1, 2)
        figures |= {f"{kind}/hour": each.an_hour for kind, each in (("1x1", one), ("2x1", two), ("1x2", wide))}
        figures["2x1/1x1"] = two.an_hour / one.an_hour
        figures["1x2/1x1"] = wide.an_hour / one.an_hour
        figures["orchestration"] = one.orchestration
        first = run(folder / "fleet", arguments.models, 2, 1)
        again = run(folder / "fleet", arguments.models, 2, 1)
        figures |= {"models": arguments.models, "first": first.seconds, "again": again.seconds}
        figures["again/first"] = again.seconds / first.seconds
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


def run(folder: Path, models: int, processes: int, threads: int) -> Measured:
    """One `roastery run` of so many models."""
    configs = configure(folder, models, processes=processes, threads=threads)
    command = [sys.executable, "-m", "cli.main", "run", "--models", str(configs)]
    command += ["--store", str(folder / "store"), "--tracking-uri", f"sqlite:///{folder}/mlflow.db"]
    environment = os.environ | {"PREFECT_HOME": str(folder / "prefect")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    started = time.monotonic()
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{done.stderr}\n`roastery run` ended with {done.returncode}")
    stages = sum(json.loads(path.read_text())["seconds"] for path in (folder / "store").glob("*/*/timing.json"))
    with sqlite3.connect(folder / "prefect" / "prefect.db") as database:
        ((runs,),) = database.execute(
            "select sum(julianday(r.end_time) - julianday(r.created)) * 86400 from flow_run r join flow f"
            " on f.id = r.flow_id where f.name = 'convert_model'"
        )
        ((fleet,),) = database.execute(
            "select (julianday(r.end_time) - julianday(r.start_time)) * 86400 from flow_run r join flow f"
            " on f.id = r.flow_id where f.name = 'convert_fleet' order by r.created desc limit 1"
        )
        ((filing,),) = database.execute(
            "select sum(julianday(end_time) - julianday(start_time)) * 86400 from task_run where name like 'log %'"
        )
    return Measured(seconds, fleet, models, runs, stages + filing)


def show(figures: dict[str, float]) -> None:
    table = Table(title="What a fleet costs")
    for heading in ("what", "measured", "should be"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for kind, words in (("1x1", "1 process of 1 thread"), ("2x1", "2 of 1"), ("1x2", "1 of 2")):
        table.add_row(f"conversions an hour, {words}", f"{figures[f'{kind}/hour']:.0f}", "")
    table.add_row("2 of 1 to 1 of 1", f"{figures['2x1/1x1']:.2f}", f"at least {LEAST_GAIN}")
    table.add_row("1 of 2 to 1 of 1", f"{figures['1x2/1x1']:.2f}", "")
    table.add_section()
    share = f"{100 * figures['orchestration']:.1f} %"
    table.add_row("orchestration's share of a conversion", share, f"at most {MOST_ORCHESTRATION:.0%}")
    table.add_section()
    table.add_row(f"{figures['models']:.0f} models, the first time", f"{figures['first']:.0f} s", "")
    table.add_row("again, with nothing changed", f"{figures['again']:.1f} s", "")
    table.add_row("again to the first time", f"{100 * figures['again/first']:.2f} %", f"under {MOST_RERUN:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
