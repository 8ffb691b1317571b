"""Evaluate: AP of the original and of the converted model side by side, the gate's verdict, and the report."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roastery.digest import JSON
from roastery.results import (
    ArtifactRef,
    Evaluation,
    LatencySummary,
    ParitySummary,
    PinnedDataset,
    ResolvedModel,
    StageResult,
    StageTiming,
    Target,
    VerdictSummary,
)
from roastery.spec import DatasetSpec, GateSpec
from roastery.stages.genuine import RuntimeName
from roastery.stages.predict import DETECTIONS_FILE, LATENCIES_FILE
from roastery.stages.stage import FACTS_FILE, Facts, Request, Stage
from roastery.store import Store

if TYPE_CHECKING:
    from roastery.report import ReportFacts

EVALUATION_FILE = "evaluation.json"
PICTURES = 4


class EvaluateRequest(Request):
    """Judge a converted model by the detections of all targets on all shards."""

    stage = "evaluate"
    packages = ("numpy", "Pillow", "pycocotools")

    resolved: ResolvedModel
    dataset: DatasetSpec
    pinned: PinnedDataset
    iou_types: tuple[str, ...]
    shards: dict[Target, tuple[ArtifactRef, ...]]
    converted: ArtifactRef
    operators: dict[str, int]
    parity: tuple[ParitySummary, ...]
    gate: GateSpec
    timings: tuple[StageTiming, ...]
    """What the stages before cost; it is told in the report, and decides nothing."""
    versions: dict[str, str]

    def inputs(self) -> Mapping[str, JSON]:
        return {
            "model": self.model,
            "dataset": [self.pinned.name, self.pinned.sha256],
            "resolved": self.resolved.artifact.key,
            "iou_types": list(self.iou_types),
            "shards": {target: [shard.key for shard in shards] for target, shards in self.shards.items()},
            "converted": self.converted.key,
            "gate": self.gate.model_dump(mode="json"),
        }

    @property
    def runtimes(self) -> tuple[RuntimeName, ...]:
        """Those that ran, the most genuine last."""
        return tuple(runtime for runtime in ("torch", "caffe2") if runtime in self.shards)


class EvaluateFacts(Facts):
    """The evaluation."""

    evaluation: Evaluation


class EvaluateResult(StageResult):
    """A judged model. The artifact's key covers every input of every stage before."""

    facts: EvaluateFacts


def run(request: EvaluateRequest, store: Store, directory: Path) -> EvaluateFacts:
    """Write `evaluation.json`, `detections-<target>.json`, `report.md` and its pictures.

    Raises:
        DatasetError: detections that do not fit the dataset.
    """
    from roastery.data.coco import load_coco
    from roastery.evaluation.coco import evaluate_coco
    from roastery.report import write_report
    from roastery.report_pictures import draw_comparisons

    dataset = load_coco(request.dataset.name, request.dataset.images, request.dataset.annotations)
    gathered = {target: _Gathered(store, shards) for target, shards in request.shards.items()}
    metrics = {
        target: _numbers(evaluate_coco(dataset, shards.detections, request.iou_types))
        for target, shards in gathered.items()
    }
    evaluation = _judge(request, metrics, gathered, len(dataset.images))
    (directory / EVALUATION_FILE).write_text(evaluation.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for target, shards in gathered.items():
        detections = json.dumps(shards.detections, allow_nan=False)
        (directory / f"detections-{target}.json").write_text(detections, encoding="utf-8")
    pictures = draw_comparisons(
        directory,
        dataset,
        [record.id for record in dataset.images],
        {target: shards.detections for target, shards in gathered.items()},
        PICTURES,
    )
    write_report(directory, evaluation, _report_facts(request, store), pictures)
    return EvaluateFacts(evaluation=evaluation)


class _Gathered:
    """What a target gave on all its shards."""

    def __init__(self, store: Store, shards: Sequence[ArtifactRef]) -> None:
        self.detections: list[dict[str, Any]] = []
        self.milliseconds: list[float] = []
        self.failures: list[str] = []
        self.images = 0
        for shard in shards:
            folder = store.fetch(shard)
            self.detections += _read(folder / DETECTIONS_FILE)
            self.milliseconds += _read(folder / LATENCIES_FILE)
            facts = _read(folder / FACTS_FILE)
            self.failures += facts["failures"]
            self.images += facts["images"]
        self.detections.sort(key=lambda result: int(result["image_id"]))


def _judge(
    request: EvaluateRequest,
    metrics: dict[Target, dict[str, dict[str, float | None]]],
    gathered: Mapping[Target, _Gathered],
    images: int,
) -> Evaluation:
    from roastery.evaluation.gate import GatePolicy, judge
    from roastery.evaluation.latency import summarise

    policy = GatePolicy(**request.gate.model_dump())
    parities = {parity.runtime: parity for parity in request.parity}
    verdicts: dict[Target, VerdictSummary] = {}
    for runtime in request.runtimes:
        failures = [f"{who}: {name}" for who in ("original", runtime) for name in gathered[who].failures]
        # An image that a target was never asked for is as good as one that failed.
        measured = min(images, gathered["original"].images, gathered[runtime].images)
        failures += [f"{images - measured} images were not evaluated"] if measured < images else []
        verdict = judge(metrics["original"], metrics[runtime], parities.get(runtime), measured, failures, policy)
        verdicts[runtime] = VerdictSummary(
            passed=verdict.passed,
            reasons=verdict.reasons,
            deltas={name: _number(delta) for name, delta in verdict.deltas.items()},
        )
    latency: dict[Target, LatencySummary] = {
        target: summarise(shards.milliseconds) for target, shards in gathered.items() if shards.milliseconds
    }
    return Evaluation(
        model=request.model,
        original_kind="reference",
        dataset=request.pinned.name,
        dataset_sha256=request.pinned.sha256,
        images=images,
        failed_images=tuple(f"{target}: {name}" for target, shards in gathered.items() for name in shards.failures),
        metrics=metrics,
        latency=latency,
        parity=request.parity,
        verdicts=verdicts,
        passed=bool(verdicts) and all(verdict.passed for verdict in verdicts.values()),
        judged_by=request.runtimes[-1],
    )


def _report_facts(request: EvaluateRequest, store: Store) -> "ReportFacts":
    from roastery.report import ReportFacts

    folder = store.fetch(request.converted)
    files = [name for name in request.converted.files if name.startswith("model")]
    return ReportFacts(
        meta_architecture=request.resolved.meta_architecture,
        operators=request.operators,
        sizes={name: (folder / name).stat().st_size for name in files},
        digests={name: request.converted.files[name] for name in files},
        sources={"checkpoint": request.resolved.source_sha256, "config": request.resolved.config_sha256},
        versions=request.versions,
        timings=request.timings,
    )


def _numbers(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    return {iou_type: {name: _number(value) for name, value in values.items()} for iou_type, values in metrics.items()}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _result(artifact: ArtifactRef, timing: StageTiming, facts: EvaluateFacts) -> EvaluateResult:
    return EvaluateResult(artifact=artifact, timing=timing, facts=facts)


STAGE = Stage(EvaluateRequest, EvaluateFacts, _result, run)
