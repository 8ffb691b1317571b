"""Evaluate: AP of the original and of the converted model side by side, and the gate's verdict."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from roastery.digest import JSON
from roastery.results import (
    ArtifactRef,
    Evaluation,
    Finder,
    Measures,
    ParitySummary,
    PinnedDataset,
    ResolvedModel,
    StageResult,
    StageTiming,
)
from roastery.spec import DatasetSpec, GateSpec
from roastery.stages.dataset import load_evaluated
from roastery.stages.predict import DETECTIONS_FILE, LATENCIES_FILE, SEGMENTS_FILE
from roastery.stages.stage import FACTS_FILE, Facts, Request, Stage
from roastery.store import Store

if TYPE_CHECKING:
    from roastery.evaluation.coco import CurvesByTarget
    from roastery.evaluation.side_by_side import Found

EVALUATION_FILE = "evaluation.json"
_CURVES_FILE = "curves.json"


class EvaluateRequest(Request):
    """Judge a converted model by the detections of all finders on all shards."""

    stage = "evaluate"
    packages = ("numpy", "pycocotools")

    resolved: ResolvedModel
    dataset: DatasetSpec
    pinned: PinnedDataset
    measures: Measures
    shards: dict[Finder, tuple[ArtifactRef, ...]]
    converted: ArtifactRef
    parity: tuple[ParitySummary, ...]
    gate: GateSpec

    def inputs(self) -> Mapping[str, JSON]:
        return {
            "model": self.model,
            "dataset": [self.pinned.name, self.pinned.sha256],
            "resolved": self.resolved.artifact.key,
            "measures": self.measures.model_dump(mode="json"),
            "shards": {finder: [shard.key for shard in shards] for finder, shards in self.shards.items()},
            "converted": self.converted.key,
            "gate": self.gate.model_dump(mode="json"),
        }


class EvaluateFacts(Facts):
    """The evaluation."""

    evaluation: Evaluation
    failed_ids: tuple[int, ...]
    """The images on which a finder failed."""


class EvaluateResult(StageResult):
    """A judged model. The artifact's key covers every input of every stage before."""

    facts: EvaluateFacts


def run(request: EvaluateRequest, store: Store, directory: Path) -> EvaluateFacts:
    """Write `evaluation.json`, `curves.json`, and `detections-<finder>.json` of every finder.

    Raises:
        DatasetError: a dataset that changed during the run, or that the detections do not fit.
    """
    from roastery.evaluation.gate import GatePolicy
    from roastery.evaluation.side_by_side import judge_side_by_side

    dataset = load_evaluated(request.dataset, request.pinned)
    policy = GatePolicy(**request.gate.model_dump())
    found = _found(request, store, directory)
    judged = judge_side_by_side(
        request.model, dataset, request.measures, found, request.parity, policy, request.resolved.original_kind
    )
    evaluation = judged.evaluation
    (directory / EVALUATION_FILE).write_text(evaluation.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (directory / _CURVES_FILE).write_bytes(_curves_json().dump_json(judged.curves))
    failed = {image_id for shards in request.shards.values() for image_id in _failed(store, shards)}
    return EvaluateFacts(evaluation=evaluation, failed_ids=tuple(sorted(failed)))


def detections_file(finder: Finder) -> str:
    """The file of an artifact in which a finder's detections are, as COCO results."""
    return f"detections-{finder}.json"


def read_curves(folder: Path) -> "CurvesByTarget":
    """Precision over recall, from the folder of an artifact.

    Raises:
        ValueError: the file is not what `run` writes.
    """
    return _curves_json().validate_json((folder / _CURVES_FILE).read_bytes())


def _curves_json() -> "TypeAdapter[CurvesByTarget]":
    from roastery.evaluation.coco import CurvesByTarget

    return TypeAdapter(CurvesByTarget)


def _found(request: EvaluateRequest, store: Store, directory: Path) -> "Iterator[tuple[Finder, Found]]":
    """What each finder found, one at a time, its detections written down too."""
    for finder, shards in request.shards.items():
        each = _gather(store, shards)
        detections = json.dumps(each.detections, allow_nan=False)
        (directory / detections_file(finder)).write_text(detections, encoding="utf-8")
        del detections
        yield finder, each
        del each


def _gather(store: Store, shards: Sequence[ArtifactRef]) -> "Found":
    """What a finder found on all its shards, in the order of the images."""
    from roastery.evaluation.side_by_side import Found

    detections: list[dict[str, Any]] = []
    segments: list[dict[str, Any]] = []
    milliseconds: list[float] = []
    failures: list[str] = []
    images = 0
    for shard in shards:
        folder = store.fetch(shard)
        detections += _read(folder / DETECTIONS_FILE)
        if SEGMENTS_FILE in shard.files:
            segments += _read(folder / SEGMENTS_FILE)
        milliseconds += _read(folder / LATENCIES_FILE)
        facts = _read(folder / FACTS_FILE)
        failures += facts["failures"]
        images += facts["images"]
    detections, segments = (sorted(rows, key=lambda row: int(row["image_id"])) for rows in (detections, segments))
    return Found(detections, milliseconds, failures, images, segments)


def _failed(store: Store, shards: Sequence[ArtifactRef]) -> list[int]:
    """The images on which a finder failed."""
    return [int(image_id) for shard in shards for image_id in _read(store.fetch(shard) / FACTS_FILE)["failed_ids"]]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _result(artifact: ArtifactRef, timing: StageTiming, facts: EvaluateFacts) -> EvaluateResult:
    return EvaluateResult(artifact=artifact, timing=timing, facts=facts)


STAGE = Stage(EvaluateRequest, EvaluateFacts, _result, run)
