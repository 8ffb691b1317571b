"""Evaluate a dataset of COCO's size: seconds and peak memory of each stage. Nothing is detected; that is simulated.

    python benchmarks/coco_sized.py [--images N] [--annotations N] [--detections N] [--shards N] [--limit GIB]
                                    [--json FILE]

Writes 5,000 images with 36,000 annotations of 80 classes, and for the original and both runtimes the shards that the
predict stage would leave: 100 detections an image, each with a mask. Then the stages that read them run as in a
conversion, in the process of its worker: resolve (which reads the whole dataset), sample, evaluate (COCO AP of boxes
and masks of all three, and the verdict) and report. Prints a table, and ends with 1 where a stage took more than 4 GiB.
With --limit the worker may not map more than that (RLIMIT_DATA): what needs it fails.
"""

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import full_size
import simulated_coco
from rich.console import Console
from rich.table import Table

from roastery.config import load_config, measures
from roastery.results import ArtifactRef, Finder, ParitySummary, StageResult
from roastery.spec import DatasetSpec, ExportSpec, GateSpec, ModelSpec, SampleSpec
from roastery.stages.evaluate import EvaluateRequest, EvaluateResult
from roastery.stages.predict import DETECTIONS_FILE, LATENCIES_FILE, PredictFacts
from roastery.stages.process import StageWorker
from roastery.stages.report import ReportRequest, ReportResult
from roastery.stages.resolve import ResolveRequest, ResolveResult
from roastery.stages.sample import SampleRequest, SampleResult
from roastery.stages.stage import FACTS_FILE
from roastery.store import Store

MOST_MIB = 4096.0
TARGETS: tuple[Finder, ...] = ("original", "torch", "caffe2")
_MODEL = "simulated"
_HOUR = 3600.0


def fill(store: Store, dataset: simulated_coco.Simulated, each: int, shards: int) -> dict[Finder, list[ArtifactRef]]:
    """Leave in the store what the predict stage would. All targets find the same, but for a score's sixth digit."""
    artifacts: dict[Finder, list[ArtifactRef]] = {target: [] for target in TARGETS}
    for shard in range(shards):
        ids = sorted(dataset.objects)[shard::shards]
        part = simulated_coco.Simulated(
            dataset.images, dataset.annotations, {image_id: dataset.objects[image_id] for image_id in ids}
        )
        detections = [row for _, rows in simulated_coco.found_in(part, each, seed=shard + 1) for row in rows]
        facts = PredictFacts(images=len(ids), detections=len(detections), failures=(), failed_ids=())
        for number, target in enumerate(TARGETS):
            for row in detections:
                row["score"] += number * 1e-6
            files = {
                DETECTIONS_FILE: json.dumps(detections),
                LATENCIES_FILE: json.dumps([50.0 + number] * len(ids)),
                FACTS_FILE: facts.model_dump_json(),
            }
            artifacts[target].append(_artifact(store, "predict", f"{target}{shard}", files))
    return artifacts


def _artifact(store: Store, stage: str, key: str, files: Mapping[str, str]) -> ArtifactRef:
    with store.build(stage, key) as build:
        for name, text in files.items():
            (build.directory / name).write_text(text)
    return build.ref


def run(folder: Path, images: int, annotations: int, each: int, shards: int) -> dict[str, StageResult]:
    """The stages' results by name."""
    config = folder / "config.yaml"
    config.write_text(full_size.CONFIG)
    # Only its digest is asked for.
    (folder / "model_final.pkl").write_bytes(b"no weights")
    simulated = simulated_coco.write_dataset(folder / "dataset", images, annotations)
    dataset = DatasetSpec(name="simulated", images=simulated.images, annotations=simulated.annotations)
    store = Store(str(folder / "store"))
    shards_of = fill(store, simulated, each, shards)
    spec = ModelSpec(name=_MODEL, config=config, weights=str(folder / "model_final.pkl"), dataset=dataset.name)
    net = _artifact(store, "convert", "simulated", {"model.pb": "no net"})
    done: dict[str, StageResult] = {}
    with StageWorker(_MODEL) as worker:
        resolved = worker.perform(ResolveRequest(model=_MODEL, spec=spec, dataset=dataset), ResolveResult, store, _HOUR)
        given: dict[str, Any] = {
            "model": _MODEL,
            "resolved": resolved.model(spec),
            "dataset": dataset,
            "pinned": resolved.facts.dataset,
        }
        sampled = worker.perform(SampleRequest(**given, sample=SampleSpec()), SampleResult, store, _HOUR)
        parity = tuple(
            ParitySummary(passed=True, images=16, differences=(), largest={}, runtime=target) for target in TARGETS[1:]
        )
        evaluated = worker.perform(
            EvaluateRequest(
                **given,
                measures=measures(load_config(config)),
                shards={target: tuple(artifacts) for target, artifacts in shards_of.items()},
                converted=net,
                parity=parity,
                gate=GateSpec(),
            ),
            EvaluateResult,
            store,
            _HOUR,
        )
        assert evaluated.facts.evaluation.passed, evaluated.facts.evaluation.verdicts
        done = {"resolve": resolved, "sample": sampled, "evaluate": evaluated}
        done["report"] = worker.perform(
            ReportRequest(
                **given,
                evaluated=evaluated.artifact,
                converted=net,
                onnx=net,
                operators={},
                export=ExportSpec(),
                gate=GateSpec(),
                timings=tuple(result.timing for result in done.values()),
                versions={},
            ),
            ReportResult,
            store,
            _HOUR,
        )
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate a dataset of COCO's size, stage by stage.")
    parser.add_argument("--images", type=int, default=5000, help="how many (default 5000)")
    parser.add_argument("--annotations", type=int, default=36000, help="how many, of all images (default 36000)")
    parser.add_argument("--detections", type=int, default=100, help="of each image (default 100)")
    parser.add_argument("--shards", type=int, default=2, help="of each target (default 2)")
    parser.add_argument("--limit", type=float, help="GiB that a process may have; default: as much as it wants")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    if arguments.limit:
        limit = int(arguments.limit * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with tempfile.TemporaryDirectory(prefix="roastery-bench-") as folder:
        results = run(Path(folder), arguments.images, arguments.annotations, arguments.detections, arguments.shards)
    evaluation = results["evaluate"].facts.evaluation  # type: ignore[attr-defined]
    figures = {
        "images": arguments.images,
        "annotations": arguments.annotations,
        "detections_an_image": arguments.detections,
        "limit_gib": arguments.limit,
        "stages": {
            name: {"seconds": result.timing.seconds, "peak_mib": result.timing.peak_memory_mb}
            for name, result in results.items()
        },
        "own_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        # Each stage starts the mark anew.
        "worker_peak_mib": max(result.timing.peak_memory_mb for result in results.values()),
        "ap": {kind: evaluation.metrics["original"][kind]["AP"] for kind in evaluation.metrics["original"]},
    }
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if figures["worker_peak_mib"] > MOST_MIB:
        sys.exit(1)


def show(figures: Mapping[str, Any]) -> None:
    """Print the table."""
    table = Table("stage", "seconds", "peak MiB", title=f"{figures['images']} images, {figures['annotations']} objects")
    for name, stage in figures["stages"].items():
        table.add_row(name, f"{stage['seconds']:.1f}", f"{stage['peak_mib']:.0f}")
    table.add_row("the worker at most", "", f"{figures['worker_peak_mib']:.0f}")
    table.add_row("this program", "", f"{figures['own_peak_mib']:.0f}")
    console = Console()
    console.print(table)
    aps = ", ".join(f"{kind} {ap:.2f}" for kind, ap in figures["ap"].items())
    console.print(f"AP of the original: {aps}. Most that a stage may take: {MOST_MIB:.0f} MiB")


if __name__ == "__main__":
    main()
