"""Time `roastery run` on a model that has not changed: what a nightly fleet pays for each run that finds nothing to do.

    python benchmarks/unchanged.py [--repeat N] [--json FILE]

Converts a model of the demo zoo on four images once, and then again with nothing changed, each time in a process of its
own. Prints a table of seconds (median of the repeats). Python counts the imports itself, wherever they happen; the
figures beside them are without. The sum to mind is what is left when the imports are taken off.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from few_images import ROOT, configure
from rich.console import Console
from rich.table import Table

ALLOWED_SECONDS = 3.0
MARK = "mark:"
IMPORT = "import time:"
PHASES = {
    "start": "start, specs, sources",
    "waits": "wait for Prefect's server",
    "flow": "flow",
    "table": "table and shutdown",
}
"""What begins at a mark, and the row that it counts to."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time `roastery run` on a model that has not changed.")
    parser.add_argument("--repeat", type=int, default=5, help="processes to time (default 5)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--once", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        run_once(arguments.once)
        return
    with tempfile.TemporaryDirectory(prefix="roastery-bench-") as folder:
        command = ["run", "--models", str(configure(Path(folder), 1))]
        command += ["--store", f"{folder}/store", "--tracking-uri", f"sqlite:///{folder}/mlflow.db"]
        environment = os.environ | {"PREFECT_HOME": f"{folder}/prefect"}
        # PYTHONPATH: the working directory is the project's, as far as its imports go.
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        time_once(command, environment)
        runs = [time_once(command, environment) for _ in range(arguments.repeat)]
    show(runs)
    if arguments.json:
        arguments.json.write_text(json.dumps({"runs": runs}, indent=1))


def time_once(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Seconds of each row, `imports` and the `whole`, of one process from its start to its end."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", __file__, "--once", *command],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    ended = time.monotonic()
    lines = done.stderr.splitlines()
    if done.returncode:
        words = [line for line in lines if not line.startswith((MARK, IMPORT))]
        raise SystemExit("\n".join([done.stdout, *words, f"`roastery run` ended with {done.returncode}"]))
    return {"whole": ended - started} | rows_of(lines, started, ended)


def rows_of(lines: list[str], started: float, ended: float) -> dict[str, float]:
    """What the marks and Python's own lines about imports say, in their order."""
    rows = {"imports": 0.0} | dict.fromkeys(PHASES.values(), 0.0)
    phase, since = "start", started
    for line in [*lines, f"{MARK}end {ended}"]:
        if line.startswith(IMPORT):
            own = line.removeprefix(IMPORT).split("|")[0].strip()
            if own.isdecimal():
                rows["imports"] += int(own) / 1e6
                rows[PHASES[phase]] -= int(own) / 1e6
        elif line.startswith(MARK):
            name, _, at = line.removeprefix(MARK).rpartition(" ")
            rows[PHASES[phase]] += float(at) - since
            phase, since = name, float(at)
    return rows


def run_once(command: list[str]) -> None:
    """The command itself, in this process, which tells on stderr where it is."""
    import cli.run
    from cli.main import main
    from cli.prefect_server import prefect_server

    show_table = cli.run.show

    @contextmanager
    def marked_server() -> Iterator[Any]:
        with prefect_server() as wait:

            def marked_wait() -> None:
                mark("waits")
                wait()
                mark("flow")

            yield marked_wait

    def marked_table(*arguments: Any) -> None:
        mark("table")
        show_table(*arguments)

    marked_run = patch.multiple(cli.run, prefect_server=marked_server, show=marked_table)
    with marked_run:
        sys.argv = ["roastery", *command]
        main()


def mark(name: str) -> None:
    sys.stderr.write(f"{MARK}{name} {time.monotonic()}\n")
    sys.stderr.flush()


def show(runs: list[dict[str, float]]) -> None:
    table = Table(title="roastery run, one model, unchanged")
    for heading in ("what", "seconds", "min..max"):
        table.add_column(heading, justify="left" if heading == "what" else "right")

    def add(what: str, seconds: list[float]) -> None:
        table.add_row(what, f"{statistics.median(seconds):.2f}", f"{min(seconds):.2f}..{max(seconds):.2f}")

    for row in dict.fromkeys(PHASES.values()):
        add(row, [run[row] for run in runs])
    table.add_section()
    add(f"beyond imports (at most {ALLOWED_SECONDS:g})", [run["whole"] - run["imports"] for run in runs])
    add("imports", [run["imports"] for run in runs])
    add("whole", [run["whole"] for run in runs])
    Console().print(table)


if __name__ == "__main__":
    main()
