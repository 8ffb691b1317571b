"""Time the runtimes side by side: our reference, torch, ONNX Runtime, genuine Caffe2 with our nets and the original's.

    python benchmarks/runtimes.py [--repeat N] [--threads 1 2] [--only NAME...] [--json FILE]

Each runtime is a process that holds its model and waits; they run in turn, one at a time, so that a noisy minute is
everybody's. Prints tables of milliseconds (median and middle half of the repeats), of ratios of the medians, and of
peak memory. Needs genuine Caffe2 (`make caffe2`).
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

from roastery.caffe2.caffe2_runtime import find_caffe2_python

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples" / "shapes"
GOLDEN = HERE.parent / "tests" / "golden"
SIZE = 640
DETECTIONS = 100
GOLDEN_REPEATS = 20
"""A golden image takes 7 ms: of fewer runs the median would wander by a tenth."""


@dataclass(frozen=True)
class Figures:
    """What was measured of one runtime with one model."""

    model: str
    threads: int
    runtime: str
    detections: int
    milliseconds: list[float]
    peak_mib: float

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)


class Runner:
    """A runtime in a process of its own, which runs when it is told to."""

    def __init__(self, command: Sequence[str | Path], threads: int) -> None:
        settings = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | settings,
        )
        self.detections = int(self._answer())
        self.milliseconds: list[float] = []

    def run(self) -> float:
        """Milliseconds of one run."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer()) * 1000

    def end(self) -> float:
        """Its peak memory in MiB."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        peak = float(self._answer())
        self._process.wait()
        return peak

    def _answer(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            # Caffe2's import prints.
            with contextlib.suppress(ValueError):
                float(line)
                return line
        raise SystemExit(f"{' '.join(map(str, self._process.args))} ended with {self._process.wait()}")  # type: ignore[arg-type]


def compare(model: str, commands: Mapping[str, Sequence[str | Path]], threads: int, repeat: int) -> list[Figures]:
    """Time what the commands start, by turns."""
    runners = {name: Runner(command, threads) for name, command in commands.items()}
    for runner in runners.values():
        runner.run()
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(repeat):
        for name, runner in runners.items():
            taken[name].append(runner.run())
    return [
        Figures(model, threads, name, runner.detections, taken[name], runner.end()) for name, runner in runners.items()
    ]


def full_size_model(folder: Path) -> None:
    """A Mask R-CNN R50-FPN of 80 classes with random weights, whose scores are spread until 100 detections come out."""
    import torch
    from safetensors.torch import save_file

    from roastery.config import load_config
    from roastery.reference.build import build_reference
    from roastery.sources.native import build_detector

    (folder / "config.yaml").write_text(full_size.CONFIG)
    config = load_config(folder / "config.yaml")
    torch.manual_seed(0)
    detector = build_detector(config)
    image = torch.from_numpy(drawn_image()[0])
    reference = build_reference(config, detector)
    weight = detector.state_dict()["roi_heads.box_predictor.cls_score.weight"]
    for _ in range(40):
        if len(reference([{"image": image}])[0]["instances"]) >= DETECTIONS:
            break
        weight *= 1.5
    else:
        raise SystemExit("the random model finds nothing, however its scores are spread")
    save_file(
        {name: tensor.contiguous() for name, tensor in detector.state_dict().items()},
        folder / "model_final.safetensors",
    )
    convert(folder, folder)


def drawn_image() -> np.ndarray:
    """(1, 3, 640, 640) float32, BGR 0..255: coloured rectangles on noise, the same each time."""
    generator = np.random.default_rng(0)
    image = generator.uniform(90, 160, (1, 3, SIZE, SIZE)).astype(np.float32)
    for _ in range(40):
        (top, left), (height, width) = generator.integers(0, SIZE - 40, 2), generator.integers(20, 240, 2)
        image[0, :, top : top + height, left : left + width] = generator.uniform(0, 255, (3, 1, 1))
    return image


def convert(source: Path, target: Path) -> None:
    from roastery.caffe2.convert import convert as to_caffe2
    from roastery.caffe2.nets import save_nets
    from roastery.config import load_config
    from roastery.export.onnx import export_onnx
    from roastery.export.trace import trace
    from roastery.onnx_runtime.files import save_model, to_standard_model
    from roastery.onnx_runtime.lower import standard_onnx
    from roastery.sources.native import load_detector, net_arguments

    config = load_config(source / "config.yaml")
    (weights,) = source.glob("model_final.*")
    detector = load_detector(config, weights)
    exported = export_onnx(trace(detector, net_arguments(config, detector)))
    save_model(to_standard_model(standard_onnx(exported)), target)
    save_nets(to_caffe2(exported), target)
    if source != target:
        for file in (source / "config.yaml", weights):
            (target / file.name).symlink_to(file)


def save_inputs(file: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    np.savez(file, data=arrays["data"], im_info=arrays["im_info"])
    return file


def measure(folder: Path, only: Sequence[str], threads: Sequence[int], repeat: int) -> list[Figures]:
    caffe2: list[str | Path] = [find_caffe2_python(), "-I", HERE / "runtimes_caffe2.py"]
    ours: list[str | Path] = [sys.executable, HERE / "runtimes_ours.py"]
    large = save_inputs(
        folder / "large.npz", {"data": drawn_image(), "im_info": np.array([[SIZE, SIZE, 1]], np.float32)}
    )
    console = Console(stderr=True)
    found: list[Figures] = []
    names = [path.parent.name for path in sorted(EXAMPLES.glob("*/config.yaml"))]
    for name in [name for name in [*names, "full size"] if not only or name in only]:
        nets = folder / name
        nets.mkdir()
        with console.status(f"{name}: converting"):
            full_size_model(nets) if name == "full size" else convert(EXAMPLES / name, nets)
        for count in threads:
            commands = {
                "reference": [*ours, "reference", nets, large],
                "torch": [*ours, "torch", nets, large],
                "onnxruntime": [*ours, "onnxruntime", nets, large],
                "caffe2": [*caffe2, nets, large],
            }
            with console.status(f"{name}: {count} threads"):
                found += compare(name, commands, count, repeat)
            if (GOLDEN / name / "model.pb").exists():
                golden = np.load(GOLDEN / name / "caffe2_io.npz")
                given = {blob: golden[f"0/{blob}"] for blob in ("data", "im_info")}
                small = save_inputs(folder / f"{name}.npz", given)
                pair = {"caffe2, ours": [*caffe2, nets, small], "caffe2, original": [*caffe2, GOLDEN / name, small]}
                with console.status(f"{name}: beside the original, {count} threads"):
                    found += compare(f"{name}, golden", pair, count, GOLDEN_REPEATS * repeat)
    return found


def show(found: Sequence[Figures]) -> None:
    table = Table(title=f"One image of {SIZE}x{SIZE}; golden: one of the golden images")
    for heading in ("model", "threads", "runtime", "detections", "ms", "middle half", "of the last", "peak, MiB"):
        table.add_column(heading, justify="left" if heading in ("model", "runtime") else "right")
    groups: dict[tuple[str, int], list[Figures]] = {}
    for figures in found:
        groups.setdefault((figures.model, figures.threads), []).append(figures)
    for group in groups.values():
        for figures in group:
            low, _, high = statistics.quantiles(figures.milliseconds, n=4)
            table.add_row(
                figures.model,
                str(figures.threads),
                figures.runtime,
                str(figures.detections),
                f"{figures.median:.1f}",
                f"{low:.1f}..{high:.1f}",
                f"{figures.median / group[-1].median:.2f}",
                f"{figures.peak_mib:.0f}",
            )
        table.add_section()
    console = Console()
    # A file or a pipe has no width that a line would have to fit.
    (console if console.is_terminal else Console(width=120)).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the runtimes side by side.")
    parser.add_argument("--repeat", type=int, default=15, help="runs of each (default 15)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of each (default 1 and 2)")
    parser.add_argument("--only", nargs="+", default=[], help='models: names of examples/shapes, or "full size"')
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="roastery-bench-") as folder:
        found = measure(Path(folder), arguments.only, arguments.threads, arguments.repeat)
    show(found)
    if arguments.json:
        arguments.json.write_text(
            json.dumps([asdict(figures) | {"median": figures.median} for figures in found], indent=1)
        )


if __name__ == "__main__":
    main()
