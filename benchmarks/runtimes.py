"""Time the runtimes side by side: the reference, the torch runtime, ONNX Runtime and genuine Caffe2, at full size.

    python benchmarks/runtimes.py [--repeat N] [--threads 1 2] [--sizes 640x640 800x1333] [--only NAME...]
        [--runtimes NAME...] [--models FOLDER] [--json FILE]

The models are those of `full_size.ZOO`; `--only` takes examples of examples/shapes too, whose nets genuine Caffe2 also
runs beside the original converter's, on a golden image. Each model is converted once; with `--models` its folder stays,
and is used again.

Each runtime is a process that holds its model and waits; they run in turn, one at a time, so that a noisy minute is
everybody's. Of each it prints milliseconds (median and middle half of the repeats), the processors' milliseconds, which
other processes disturb less, the ratios of the medians to the reference's and to genuine Caffe2's, and peak memory.
The figures are written after each group, and what the JSON has already is not measured again.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import full_size
import numpy as np
from rich.console import Console
from rich.table import Table
from runtimes_ours import RUNTIMES

from roastery.caffe2.caffe2_runtime import find_caffe2_python

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples" / "shapes"
GOLDEN = HERE.parent / "tests" / "golden"
DEFAULT_JSON = Path("build/runtimes.json")
CAFFE2 = "caffe2"
GOLDEN_REPEATS = 20
"""A golden image takes 7 ms: of fewer runs the median would wander by a tenth."""
Command = Sequence[str | Path]


@dataclass(frozen=True)
class Figures:
    """What was measured of one runtime with one model.

    `detections` is -1 where the runtime gives maps that are still to be decoded.
    """

    model: str
    size: str
    threads: int
    runtime: str
    detections: int
    milliseconds: list[float]
    cpu_milliseconds: list[float]
    peak_mib: float

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)

    @property
    def group(self) -> tuple[str, str, int]:
        return self.model, self.size, self.threads


class Runner:
    """A runtime in a process of its own, which runs when it is told to."""

    def __init__(self, command: Command, threads: int) -> None:
        settings = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self._process = subprocess.Popen(
            [str(word) for word in (*command, threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | settings,
        )
        (detections,) = self._answer()
        self.detections = int(detections)

    def run(self) -> tuple[float, float]:
        """Milliseconds of one run: of the clock, and of the processors."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        clock, used = self._answer()
        return clock * 1000, used * 1000

    def end(self) -> float:
        """Its peak memory in MiB."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        (peak,) = self._answer()
        self._process.wait()
        return peak

    def _answer(self) -> list[float]:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            # Caffe2's import prints.
            with contextlib.suppress(ValueError):
                return [float(word) for word in line.split()]
        raise SystemExit(f"{' '.join(map(str, self._process.args))} ended with {self._process.wait()}")  # type: ignore[arg-type]


def compare(
    model: str, size: str, commands: Mapping[str, Command], threads: int, repeat: int, console: Console
) -> list[Figures]:
    """Time what the commands start, by turns."""
    with console.status(f"{model}, {size}, {threads} threads: starting"):
        runners = {name: Runner(command, threads) for name, command in commands.items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
    for turn in range(repeat):
        for name, runner in runners.items():
            with console.status(f"{model}, {size}, {threads} threads: {name}, {turn + 1} of {repeat}"):
                taken[name].append(runner.run())
    return [
        Figures(
            model,
            size,
            threads,
            name,
            runner.detections,
            [clock for clock, _ in taken[name]],
            [used for _, used in taken[name]],
            runner.end(),
        )
        for name, runner in runners.items()
    ]


def save_inputs(file: Path, size: str) -> Path:
    """The drawn image of a size as a net takes it: padded with the mean to a multiple of 32."""
    import torch

    from roastery.data.preprocess import pad_and_batch

    height, width = (int(side) for side in size.split("x"))
    image = torch.from_numpy(full_size.draw_image(height, width))
    data, im_info = pad_and_batch([image], 32, [103.53, 116.28, 123.675])
    np.savez(file, data=data.numpy(), im_info=im_info.numpy())
    return file


def prepare(name: str, models: Path, console: Console) -> Path:
    """The model's folder, converted where it is not there yet."""
    folder = models / name.replace(" ", "_")
    # Written last.
    if not (folder / "model.pb").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with console.status(f"{name}: converting"):
            if name in full_size.ZOO:
                full_size.save(name, folder)
            else:
                full_size.convert(EXAMPLES / name, folder)
    return folder


def measure(arguments: argparse.Namespace, models: Path, found: list[Figures]) -> None:
    """Add what is not measured yet to `found`, and write it."""
    console = Console(stderr=True)
    done = {figures.group for figures in found}
    for name in arguments.only or full_size.ZOO:
        folder = prepare(name, models, console)
        for size in arguments.sizes:
            inputs = save_inputs(models / f"{size}.npz", size)
            for threads in arguments.threads:
                if (name, size, threads) not in done:
                    commands = {runtime: _command(runtime, folder, inputs) for runtime in arguments.runtimes}
                    found += compare(name, size, commands, threads, arguments.repeat, console)
                    write(arguments.json, found)
        if (GOLDEN / name / "model.pb").exists() and CAFFE2 in arguments.runtimes:
            golden = np.load(GOLDEN / name / "caffe2_io.npz")
            small = models / f"{name}.npz"
            np.savez(small, **{blob: golden[f"0/{blob}"] for blob in ("data", "im_info")})
            pair = {
                "caffe2, ours": _command(CAFFE2, folder, small),
                "caffe2, original": _command(CAFFE2, GOLDEN / name, small),
            }
            for threads in arguments.threads:
                if (name, "golden", threads) not in done:
                    found += compare(name, "golden", pair, threads, GOLDEN_REPEATS * arguments.repeat, console)
                    write(arguments.json, found)


def _command(runtime: str, folder: Path, inputs: Path) -> Command:
    if runtime == CAFFE2:
        return [find_caffe2_python(), "-I", HERE / "runtimes_caffe2.py", folder, inputs]
    return [sys.executable, HERE / "runtimes_ours.py", runtime, folder, inputs]


def write(file: Path, found: Sequence[Figures]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(figures) | {"median": figures.median} for figures in found], indent=1))


def read(file: Path) -> list[Figures]:
    if not file.exists():
        return []
    rows = json.loads(file.read_text())
    return [Figures(**{key: value for key, value in row.items() if key != "median"}) for row in rows]


def show(found: Sequence[Figures]) -> None:
    table = Table(title="One image; golden: one of the golden images")
    columns = ("model", "size", "threads", "runtime", "detections", "ms", "middle half", "processors, ms")
    for heading in (*columns, "to reference", "to caffe2", "peak, MiB"):
        table.add_column(heading, justify="left" if heading in ("model", "size", "runtime") else "right")
    groups: dict[tuple[str, str, int], list[Figures]] = {}
    for figures in found:
        groups.setdefault(figures.group, []).append(figures)
    for group in groups.values():
        medians = {figures.runtime: figures.median for figures in group}
        for figures in group:
            values = figures.milliseconds
            low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
            table.add_row(
                figures.model,
                figures.size,
                str(figures.threads),
                figures.runtime,
                str(figures.detections) if figures.detections >= 0 else "",
                f"{figures.median:.1f}",
                f"{low:.1f}..{high:.1f}",
                f"{statistics.median(figures.cpu_milliseconds):.1f}",
                _ratio(figures.median, medians.get("reference")),
                _ratio(figures.median, medians.get(CAFFE2, medians.get("caffe2, original"))),
                f"{figures.peak_mib:.0f}",
            )
        table.add_section()
    console = Console()
    # A file or a pipe has no width that a line would have to fit.
    (console if console.is_terminal else Console(width=160)).print(table)


def _ratio(median: float, other: float | None) -> str:
    return "" if other is None else f"{median / other:.2f}"


def main() -> None:
    runtimes = [*RUNTIMES, CAFFE2]
    parser = argparse.ArgumentParser(description="Time the runtimes side by side.")
    parser.add_argument("--repeat", type=int, default=11, help="runs of each (default 11)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of each (default 1 and 2)")
    parser.add_argument(
        "--sizes", nargs="+", default=["640x640", "800x1333"], help="height x width (default 640x640 and 800x1333)"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], help=f"models: {', '.join(full_size.ZOO)}, or names of examples/shapes"
    )
    parser.add_argument("--runtimes", nargs="+", default=runtimes, choices=runtimes, help="(default: all of them)")
    parser.add_argument("--models", type=Path, help="where the converted models stay")
    parser.add_argument("--json", type=Path, default=DEFAULT_JSON, help=f"the figures (default {DEFAULT_JSON})")
    arguments = parser.parse_args()
    found = read(arguments.json)
    with tempfile.TemporaryDirectory(prefix="roastery-bench-") as folder:
        measure(arguments, arguments.models or Path(folder), found)
    show(found)


if __name__ == "__main__":
    main()
