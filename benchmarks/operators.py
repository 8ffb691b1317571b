"""Where the torch runtime's time goes, by operator, and what the machine could do at best.

    python benchmarks/operators.py [--repeat N] [--threads 1 2] [--sizes 640x640 800x1333] [--only NAME...]
        [--processors] [--models FOLDER] [--json FILE]

Of each model of `full_size.ZOO`: milliseconds of each kind of operator (median of the repeats), its share, the
arithmetic of convolutions and fully connected layers (2 for a multiplication and its addition), and how quickly it was
done, beside the machine's own best with as many threads: of a product of two matrices, and of copying memory.
`--processors` counts the time that the process had, not the clock's: for one thread on a machine that others use too.
"""

import argparse
import json
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import full_size
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from runtimes import prepare, save_inputs
from torch import Tensor

from roastery.caffe2.nets import load_nets
from roastery.caffe2.operation import Operation
from roastery.caffe2.torch_runtime import TorchRuntime

DEFAULT_JSON = Path("build/operators.json")
SIDE = 2048
"""Of the matrices whose product shows what the machine can do."""
COPIED = 1 << 28
ATTEMPTS = 7


@dataclass(frozen=True)
class Machine:
    """The best that was seen with so many threads."""

    threads: int
    gflops: float
    copied_gb: float
    """GB a second of copying, read and written."""


@dataclass(frozen=True)
class Row:
    """A kind of operator, as the graph names it: what it does is done together."""

    kind: str
    calls: int
    milliseconds: float
    gflop: float


@dataclass(frozen=True)
class Figures:
    """A model's operators. `milliseconds` are of the whole run."""

    model: str
    size: str
    machine: Machine
    milliseconds: float
    rows: list[Row]


Clock = Callable[[], float]


def measure_machine(threads: int, clock: Clock) -> Machine:
    torch.set_num_threads(threads)
    a, b, source = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE), torch.zeros(COPIED // 4)
    target = torch.empty_like(source)
    multiplied = min(_seconds(lambda: torch.mm(a, b), clock) for _ in range(ATTEMPTS))
    copied = min(_seconds(lambda: target.copy_(source), clock) for _ in range(ATTEMPTS))
    return Machine(threads, 2 * SIDE**3 / multiplied / 1e9, 2 * COPIED / copied / 1e9)


def _seconds(do: Callable[[], object], clock: Clock) -> float:
    started = clock()
    do()
    return clock() - started


def arithmetic(kind: str, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> float:
    """GFLOP of a convolution or a fully connected layer; 0 of others. What comes with it, as a Relu, is not counted."""
    if kind not in ("Conv", "ConvTranspose", "FC"):
        return 0.0
    assert isinstance(output, Tensor)
    # x, the weight and mostly a bias come last: behind what the convolution is added to.
    place = -2 if inputs[-1].ndim == 1 else -1
    x, weight = inputs[place - 1], inputs[place]
    each = weight[0].numel()
    times = output.numel() if kind != "ConvTranspose" else x.numel()
    return 2 * times * each / 1e9


def measure(
    runtime: TorchRuntime, inputs: Mapping[str, NDArray[Any]], repeat: int, clock: Clock
) -> tuple[float, list[Row]]:
    """Milliseconds of the whole, and of each kind of operator."""
    started: dict[Operation, float] = {}
    taken: dict[str, float] = {}
    calls: dict[str, int] = {}
    gflop: dict[str, float] = {}

    def watch(kind: str, operation: Operation) -> None:
        def before(_: torch.nn.Module, inputs: Any) -> None:
            started[operation] = clock()

        def after(_: torch.nn.Module, inputs: Any, output: Any) -> None:
            taken[kind] = taken.get(kind, 0.0) + clock() - started[operation]
            calls[kind] = calls.get(kind, 0) + 1
            gflop[kind] = gflop.get(kind, 0.0) + arithmetic(operation.bound.type, inputs, output)

        operation.register_forward_pre_hook(before)
        operation.register_forward_hook(after)

    for target, module in runtime.module().named_modules():
        if isinstance(module, Operation):
            watch(re.sub(r"_\d+", "", target.rsplit(".", maxsplit=1)[-1]), module)
    wholes: list[float] = []
    parts: defaultdict[str, list[float]] = defaultdict(list)
    for turn in range(repeat + 1):
        for figures in (taken, calls, gflop):
            figures.clear()
        whole = _seconds(lambda: runtime.run(inputs), clock)
        # The first prepares the others.
        if turn:
            wholes.append(whole * 1000)
            for kind, seconds in taken.items():
                parts[kind].append(seconds * 1000)
    rows = [Row(kind, calls[kind], statistics.median(values), gflop[kind]) for kind, values in parts.items()]
    return statistics.median(wholes), sorted(rows, key=lambda row: -row.milliseconds)


def show(figures: Figures) -> None:
    machine = figures.machine
    table = Table(
        title=f"{figures.model}, {figures.size}, {machine.threads} threads: {figures.milliseconds:.0f} ms; the machine "
        f"multiplies matrices at {machine.gflops:.0f} GFLOP/s and copies {machine.copied_gb:.1f} GB/s"
    )
    for heading in ("operators", "calls", "ms", "share", "GFLOP", "GFLOP/s", "of the machine's"):
        table.add_column(heading, justify="left" if heading == "operators" else "right")
    for row in figures.rows:
        speed = row.gflop / row.milliseconds * 1000 if row.milliseconds else 0.0
        table.add_row(
            row.kind,
            str(row.calls),
            f"{row.milliseconds:.1f}",
            f"{row.milliseconds / figures.milliseconds:.1%}",
            f"{row.gflop:.1f}" if row.gflop else "",
            f"{speed:.0f}" if row.gflop else "",
            f"{speed / machine.gflops:.0%}" if row.gflop else "",
        )
    rest = figures.milliseconds - sum(row.milliseconds for row in figures.rows)
    table.add_row("between them", "", f"{rest:.1f}", f"{rest / figures.milliseconds:.1%}", "", "", "")
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the torch runtime's time goes, by operator.")
    parser.add_argument("--repeat", type=int, default=11, help="runs (default 11)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="(default 1 and 2)")
    parser.add_argument("--sizes", nargs="+", default=["640x640", "800x1333"], help="height x width")
    parser.add_argument("--only", nargs="+", default=list(full_size.ZOO), choices=list(full_size.ZOO), help="models")
    parser.add_argument("--processors", action="store_true", help="count the process's time, not the clock's")
    parser.add_argument("--models", type=Path, help="where the converted models stay")
    parser.add_argument("--json", type=Path, default=DEFAULT_JSON, help=f"the figures (default {DEFAULT_JSON})")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.processors else time.perf_counter
    found: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="roastery-bench-") as temporary:
        models = arguments.models or Path(temporary)
        machines = [measure_machine(threads, clock) for threads in arguments.threads]
        for name in arguments.only:
            nets = load_nets(prepare(name, models, Console(stderr=True)))
            for size in arguments.sizes:
                with np.load(save_inputs(models / f"{size}.npz", size)) as file:
                    inputs = dict(file)
                for machine in machines:
                    torch.set_num_threads(machine.threads)
                    whole, rows = measure(TorchRuntime(nets, threads=machine.threads), inputs, arguments.repeat, clock)
                    found.append(Figures(name, size, machine, whole, rows))
                    show(found[-1])
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps([asdict(figures) for figures in found], indent=1))


if __name__ == "__main__":
    main()
