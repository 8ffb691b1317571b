"""Time the conversion of a full-size Mask R-CNN R50-FPN (80 classes, random weights), stage by stage.

    python benchmarks/conversion.py [--repeat N] [--json FILE]

Prints a table of seconds (median of the repeats) and peak memory, each repeat in a process of its own, and where the
seconds go within the stages. The sum to mind is trace, ONNX and NetDef: the original converter took 21 s for it on two
cores (PyTorch 1.10). Below it stands the command that a user gives, with all that it imports, draws and compares.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import full_size
from rich.console import Console
from rich.table import Table

CONVERSION_STAGES = ("trace", "export_onnx", "convert_caffe2")
ORIGINAL_SECONDS = 21.0
MEBIBYTE = 2**20


def convert_once() -> dict[str, dict[str, float]]:
    """Seconds and peak memory (MiB) of each stage, in this process."""
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="roastery-bench-") as folder:
        with _measured(figures, "import"):
            from roastery.caffe2.convert import convert
            from roastery.caffe2.nets import save_nets
            from roastery.config import load_config
            from roastery.export.onnx import export_onnx, load_onnx, save_onnx
            from roastery.export.trace import save_program, trace
            from roastery.sources.native import build_detector, net_arguments
        config_file = Path(folder) / "config.yaml"
        config_file.write_text(full_size.CONFIG)
        program_file, onnx_file = Path(folder) / "model.pt2", Path(folder) / "model.onnx"
        with _measured(figures, "build"):
            config = load_config(config_file)
            detector = build_detector(config)
        parts: dict[str, float] = {}
        with _measured(figures, "trace"):
            with _timed(parts, "trace: torch.export"):
                traced = trace(detector, net_arguments(config, detector))
            with _timed(parts, "trace: model.pt2 written"):
                save_program(traced, program_file)
        del detector
        # What was traced is at hand, as in the pipeline; the stages behind read what the one before wrote.
        with _measured(figures, "export_onnx"):
            with _timed(parts, "export_onnx: translated"):
                model = export_onnx(traced)
            with _timed(parts, "export_onnx: model.onnx written and checked"):
                save_onnx(model, onnx_file)
        del traced, model
        with _measured(figures, "convert_caffe2"):
            with _timed(parts, "convert_caffe2: model.onnx checked and read"):
                model = load_onnx(onnx_file)
            with _timed(parts, "convert_caffe2: converted"):
                nets = convert(model)
            with _timed(parts, "convert_caffe2: nets written"):
                save_nets(nets, Path(folder))
        sizes = {path.name: path.stat().st_size / MEBIBYTE for path in Path(folder).glob("model*.*")}
    figures["parts"] = parts
    figures["files"] = sizes
    return figures


def command_once() -> float:
    """Wall seconds of `roastery convert`, from the start of Python: the model built, converted, drawn and compared."""
    import numpy as np
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    from roastery.config import load_config
    from roastery.sources.native import build_detector

    with tempfile.TemporaryDirectory(prefix="roastery-bench-") as name:
        folder = Path(name)
        (folder / "config.yaml").write_text(full_size.CONFIG)
        torch.manual_seed(0)
        weights = build_detector(load_config(folder / "config.yaml")).state_dict()
        save_file({key: tensor.contiguous() for key, tensor in weights.items()}, folder / "model_final.safetensors")
        pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "sample.png")
        command = [sys.executable, "-m", "cli.main", "convert", "--config-file", str(folder / "config.yaml")]
        command += ["--output", str(folder / "out"), "--sample-image", str(folder / "sample.png")]
        command += ["MODEL.WEIGHTS", str(folder / "model_final.safetensors")]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


@contextmanager
def _timed(parts: dict[str, float], part: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    parts[part] = time.perf_counter() - start


@contextmanager
def _measured(figures: dict[str, dict[str, float]], stage: str) -> Iterator[None]:
    # Models and graphs lie in reference cycles; and Linux forgets the process's peak when told to.
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    figures[stage] = {"seconds": seconds, "peak_mib": peak / 1024}


def _apart(what: str) -> Any:
    """What is measured once, in a process of its own."""
    command = [sys.executable, __file__, "--once", what]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the conversion of a full-size Mask R-CNN R50-FPN.")
    parser.add_argument("--repeat", type=int, default=3, help="processes to time (default 3)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--once", choices=["stages", "command"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        sys.stdout.write(json.dumps(convert_once() if arguments.once == "stages" else command_once()))
        return
    runs = [_apart("stages") for _ in range(arguments.repeat)]
    commands = [_apart("command") for _ in range(arguments.repeat)]
    table = Table(title="Mask R-CNN R50-FPN, 80 classes: conversion by stage")
    for heading in ("stage", "seconds", "min..max", "peak memory, MiB"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    stages = [stage for stage in runs[0] if stage not in ("files", "parts")]
    for stage in stages:
        seconds = [run[stage]["seconds"] for run in runs]
        peak = max(run[stage]["peak_mib"] for run in runs)
        table.add_row(
            stage, f"{statistics.median(seconds):.2f}", f"{min(seconds):.2f}..{max(seconds):.2f}", f"{peak:.0f}"
        )
    totals = [sum(run[stage]["seconds"] for stage in CONVERSION_STAGES) for run in runs]
    total = statistics.median(totals)
    table.add_section()
    table.add_row(" + ".join(CONVERSION_STAGES), f"{total:.2f}", f"{min(totals):.2f}..{max(totals):.2f}", "")
    table.add_row("the original converter", f"{ORIGINAL_SECONDS:.1f}", f"{ORIGINAL_SECONDS / total:.2f} times ours", "")
    table.add_row(
        "`roastery convert`, the command",
        f"{statistics.median(commands):.2f}",
        f"{min(commands):.2f}..{max(commands):.2f}",
        "",
    )
    within = Table(title="Where the seconds of the stages go")
    for heading in ("part", "seconds", "share"):
        within.add_column(heading, justify="left" if heading == "part" else "right")
    for part in runs[0]["parts"]:
        seconds = statistics.median(run["parts"][part] for run in runs)
        within.add_row(part, f"{seconds:.2f}", f"{seconds / total:.0%}")
    console = Console()
    console.print(table)
    console.print(within)
    console.print("  ".join(f"{name} {size:.1f} MiB" for name, size in sorted(runs[0]["files"].items())))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"runs": runs, "commands": commands, "conversion_seconds": total}, indent=1)
        )


if __name__ == "__main__":
    main()
