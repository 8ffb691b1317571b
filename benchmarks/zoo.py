"""Convert every config of detectron2 0.5's model zoo at full size (random weights), one after another.

    python benchmarks/zoo.py [--only GLOB] [--fresh] [--json FILE]

Prints a table: seconds of trace, ONNX and NetDef, nodes of the net, megabytes of model_init.pb, and peak memory, each
model in a process of its own. What the JSON has already is not measured again, so that a run that was stopped goes on.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from model_zoo.configs import CONFIGS, as_overrides
from model_zoo.verdicts import refusal

DEFAULT_JSON = Path("build/zoo.json")
STAGES = ("trace", "onnx", "netdef")
Figures = dict[str, Any]


def convert_once(name: str) -> Figures:
    """Seconds of each stage, and what it came to, in this process; or why the config is refused."""
    from roastery.caffe2.convert import convert
    from roastery.caffe2.nets import save_nets
    from roastery.config import load_config
    from roastery.errors import ConfigError
    from roastery.export.onnx import export_onnx, load_onnx, save_onnx
    from roastery.export.trace import load_program, save_program, trace
    from roastery.sources.native import build_detector, net_arguments

    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="roastery-zoo-") as directory:
        folder = Path(directory)
        (folder / "config.yaml").touch()
        config = load_config(folder / "config.yaml", [*as_overrides(CONFIGS[name]), "MODEL.DEVICE", "cpu"])
        try:
            detector = build_detector(config)
        except ConfigError as error:
            return {"refused": str(error)}
        # Each stage reads what the one before wrote, as the pipeline's do.
        with _timed(figures, "trace"):
            save_program(trace(detector, net_arguments(config, detector)), folder / "model.pt2")
        del detector
        with _timed(figures, "onnx"):
            save_onnx(export_onnx(load_program(folder / "model.pt2")), folder / "model.onnx")
        with _timed(figures, "netdef"):
            nets = convert(load_onnx(folder / "model.onnx"))
            save_nets(nets, folder)
        figures["nodes"] = len(nets.predict_net.op)
        figures["init_mb"] = (folder / "model_init.pb").stat().st_size / 1e6
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    figures["peak_mib"] = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    return figures


@contextmanager
def _timed(figures: Figures, stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    figures[stage] = time.perf_counter() - start


def measure(name: str) -> Figures:
    """The figures of a config, measured in a process of its own.

    Raises:
        RuntimeError: it failed; with the last of what it said.
    """
    command = [sys.executable, __file__, "--once", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise RuntimeError(said[-1])
    figures: Figures = json.loads(done.stdout)
    return figures


def show(figures: dict[str, Figures], console: Console) -> None:
    """Print a row for each config that was converted, folder by folder, and a line for each that is refused."""
    table = Table(title="The model zoo at full size, random weights", caption="trace, ONNX and NetDef in seconds")
    table.add_column("config", overflow="fold")
    for heading in ("trace", "ONNX", "NetDef", "nodes", "init, MB", "peak, MiB"):
        table.add_column(heading, justify="right")
    converted = {name: row for name, row in figures.items() if "refused" not in row}
    for folder, names in groupby(converted, key=lambda name: name.partition("/")[0]):
        table.add_section()
        table.add_row(f"[bold]{folder}[/bold]")
        for name in names:
            row = converted[name]
            seconds = [f"{row[stage]:.1f}" for stage in STAGES]
            figure = (str(row["nodes"]), f"{row['init_mb']:.1f}", f"{row['peak_mib']:.0f}")
            table.add_row(name.partition("/")[2].removesuffix(".yaml"), *seconds, *figure)
    console.print(table)
    for name, row in figures.items():
        if "refused" in row:
            console.print(f"{name}: {row['refused']}", markup=False, soft_wrap=True)


def _write(file: Path, figures: dict[str, Figures]) -> None:
    """All figures, in the order of the zoo."""
    file.parent.mkdir(parents=True, exist_ok=True)
    ordered = {name: figures[name] for name in CONFIGS if name in figures}
    file.write_text(json.dumps(ordered, indent=1), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Convert detectron2's model zoo at full size.")
    parser.add_argument("--only", default="*", metavar="GLOB", help="the configs whose name fits (default: all)")
    parser.add_argument("--fresh", action="store_true", help="measure again what the JSON has")
    parser.add_argument("--json", type=Path, default=DEFAULT_JSON, help=f"the figures (default: {DEFAULT_JSON})")
    parser.add_argument("--once", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        sys.stdout.write(json.dumps(convert_once(arguments.once)))
        return 0
    names = [name for name in CONFIGS if fnmatchcase(name, arguments.only)]
    file: Path = arguments.json
    known: dict[str, Figures] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if arguments.fresh:
        known = {name: row for name, row in known.items() if name not in names}
    console, failed = Console(soft_wrap=True, highlight=False), 0
    for name in names:
        # A config that was refused may convert by now.
        if name in known and known[name].get("refused") == refusal(name):
            continue
        try:
            known[name] = measure(name)
        except RuntimeError as error:
            failed += 1
            console.print(f"failed: {name}: {error}", style="red", markup=False)
            continue
        _write(file, known)
        row = known[name]
        done = row["refused"] if "refused" in row else f"{sum(row[stage] for stage in STAGES):.1f} s"
        console.print(f"{name}: {done}", markup=False)
    show({name: known[name] for name in names if name in known}, Console(highlight=False))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
