"""Evaluate: AP of the original and of the converted model side by side, the gate's verdict, and the report."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roastery.digest import JSON
from roastery.report.files import CONFIG_FILE
from roastery.results import (
    ArtifactRef,
    Evaluation,
    ParitySummary,
    PinnedDataset,
    ResolvedModel,
    StageResult,
    StageTiming,
    Target,
)
from roastery.spec import DatasetSpec, GateSpec
from roastery.stages.genuine import RuntimeName
from roastery.stages.predict import DETECTIONS_FILE, LATENCIES_FILE
from roastery.stages.stage import FACTS_FILE, Facts, Request, Stage
from roastery.store import Store

if TYPE_CHECKING:
    from roastery.evaluation.side_by_side import Found
    from roastery.report.facts import ReportFacts

EVALUATION_FILE = "evaluation.json"
PICTURES = 4


class EvaluateRequest(Request):
    """Judge a converted model by the detections of all targets on all shards."""

    stage = "evaluate"
    packages = ("Jinja2", "matplotlib", "numpy", "Pillow", "pycocotools")

    resolved: ResolvedModel
    dataset: DatasetSpec
    pinned: PinnedDataset
    iou_types: tuple[str, ...]
    shards: dict[Target, tuple[ArtifactRef, ...]]
    converted: ArtifactRef
    onnx: ArtifactRef | None = None
    """What the net was converted from; it is told in the report, and decides nothing that `converted` does not."""
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
    """Write `evaluation.json`, `detections-<target>.json`, `config.yaml`, the report and its pictures.

    Raises:
        DatasetError: detections that do not fit the dataset.
    """
    from roastery.data.coco import load_coco
    from roastery.evaluation.gate import GatePolicy
    from roastery.evaluation.side_by_side import judge_side_by_side
    from roastery.report.curves import draw_curves
    from roastery.report.pictures import draw_comparisons
    from roastery.report.write import write_report

    dataset = load_coco(request.dataset.name, request.dataset.images, request.dataset.annotations)
    found = {target: _gather(store, shards) for target, shards in request.shards.items()}
    policy = GatePolicy(**request.gate.model_dump())
    judged = judge_side_by_side(request.model, dataset, request.iou_types, found, request.parity, policy)
    evaluation = judged.evaluation
    (directory / EVALUATION_FILE).write_text(evaluation.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for target, each in found.items():
        detections = json.dumps(each.detections, allow_nan=False)
        (directory / f"detections-{target}.json").write_text(detections, encoding="utf-8")
    failed = {image_id for shards in request.shards.values() for image_id in _failed(store, shards)}
    pictures = draw_comparisons(
        directory,
        dataset,
        # What failed may be the image itself, which then cannot be drawn either.
        [record.id for record in dataset.images if record.id not in failed],
        {target: each.detections for target, each in found.items()},
        PICTURES,
    )
    curves = draw_curves(directory, judged.curves)
    shutil.copyfile(store.fetch(request.resolved.artifact) / CONFIG_FILE, directory / CONFIG_FILE)
    write_report(directory, evaluation, _report_facts(request, store), pictures, curves)
    return EvaluateFacts(evaluation=evaluation)


def _gather(store: Store, shards: Sequence[ArtifactRef]) -> "Found":
    """What a target found on all its shards, in the order of the images."""
    from roastery.evaluation.side_by_side import Found

    detections: list[dict[str, Any]] = []
    milliseconds: list[float] = []
    failures: list[str] = []
    images = 0
    for shard in shards:
        folder = store.fetch(shard)
        detections += _read(folder / DETECTIONS_FILE)
        milliseconds += _read(folder / LATENCIES_FILE)
        facts = _read(folder / FACTS_FILE)
        failures += facts["failures"]
        images += facts["images"]
    return Found(sorted(detections, key=lambda result: int(result["image_id"])), milliseconds, failures, images)


def _failed(store: Store, shards: Sequence[ArtifactRef]) -> list[int]:
    """The images on which a target failed."""
    return [int(image_id) for shard in shards for image_id in _read(store.fetch(shard) / FACTS_FILE)["failed_ids"]]


def _report_facts(request: EvaluateRequest, store: Store) -> "ReportFacts":
    from roastery.evaluation.gate import GatePolicy
    from roastery.report.facts import ReportFacts

    sizes: dict[str, int] = {}
    digests: dict[str, str] = {}
    for artifact in (request.converted, request.onnx):
        if artifact is not None:
            folder = store.fetch(artifact)
            files = {name: digest for name, digest in artifact.files.items() if name.startswith("model")}
            sizes |= {name: (folder / name).stat().st_size for name in files}
            digests |= files
    return ReportFacts(
        meta_architecture=request.resolved.meta_architecture,
        gate=GatePolicy(**request.gate.model_dump()),
        operators=request.operators,
        sizes=sizes,
        digests=digests,
        sources={"checkpoint": request.resolved.source_sha256, "config": request.resolved.config_sha256},
        versions=request.versions,
        timings=request.timings,
        weights=request.resolved.weights,
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _result(artifact: ArtifactRef, timing: StageTiming, facts: EvaluateFacts) -> EvaluateResult:
    return EvaluateResult(artifact=artifact, timing=timing, facts=facts)


STAGE = Stage(EvaluateRequest, EvaluateFacts, _result, run)
