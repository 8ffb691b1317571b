"""Report: what was found out of a conversion, for a person to read.

It is a stage of its own so that another look of the page judges no model anew.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roastery.data.vocabulary import Vocabulary
from roastery.digest import JSON
from roastery.report.files import CONFIG_FILE
from roastery.results import ArtifactRef, Finder, LayerError, PinnedDataset, ResolvedModel, StageResult, StageTiming
from roastery.spec import DatasetSpec, ExportSpec, GateSpec
from roastery.stages.dataset import load_evaluated
from roastery.stages.evaluate import STAGE as EVALUATE
from roastery.stages.evaluate import detections_file, read_curves
from roastery.stages.stage import Facts, Request, Stage, read_facts
from roastery.store import Store
from roastery.targets import TargetName, target_of

if TYPE_CHECKING:
    from roastery.report.facts import ReportFacts

PICTURES = 4
CLASSES_FILE = "classes.json"
"""The dataset's names of classes and their COCO categories: what the registered model answers in."""


class ReportRequest(Request):
    """Tell of a judged model. The evaluation decides what is told; the rest is told beside, and decides nothing."""

    stage = "report"
    packages = ("Jinja2", "matplotlib", "numpy", "Pillow", "pycocotools")

    evaluated: ArtifactRef
    resolved: ResolvedModel
    dataset: DatasetSpec
    pinned: PinnedDataset
    target: TargetName = "caffe2"
    converted: ArtifactRef
    onnx: ArtifactRef
    operators: dict[str, int]
    layers: tuple[LayerError, ...] = ()
    export: ExportSpec = ExportSpec()
    gate: GateSpec
    timings: tuple[StageTiming, ...]
    """What the stages before cost."""
    versions: dict[str, str]

    def inputs(self) -> Mapping[str, JSON]:
        return {"evaluated": self.evaluated.key}


class NoFacts(Facts):
    """A report says nothing to other stages."""


class ReportResult(StageResult):
    """A report: `report.md` and `report.html`, with its pictures, its curves and the config that it names."""


def run(request: ReportRequest, store: Store, directory: Path) -> NoFacts:
    """Write both forms of the report, its pictures and curves, `config.yaml` and `classes.json`.

    Raises:
        DatasetError: a dataset that changed during the run.
    """
    from roastery.report.curves import draw_curves
    from roastery.report.pictures import draw_comparisons
    from roastery.report.write import write_report

    folder = store.fetch(request.evaluated)
    facts = read_facts(EVALUATE, request.evaluated, folder)
    dataset = load_evaluated(request.dataset, request.pinned)
    detections = _Detections(folder, tuple(facts.evaluation.metrics))
    failed = set(facts.failed_ids)
    # What failed may be the image itself, which then cannot be drawn either.
    drawable = [record.id for record in dataset.images if record.id not in failed]
    pictures = draw_comparisons(directory, dataset, drawable, detections, PICTURES)
    curves = draw_curves(directory, read_curves(folder))
    shutil.copyfile(store.fetch(request.resolved.artifact) / CONFIG_FILE, directory / CONFIG_FILE)
    classes = {"names": dataset.class_names, "category_ids": dataset.category_ids}
    (directory / CLASSES_FILE).write_text(json.dumps(classes), encoding="utf-8")
    write_report(directory, facts.evaluation, _facts(request, store), pictures, curves)
    return NoFacts()


class _Detections(Mapping[Finder, Any]):
    """Every finder's detections, read when they are asked for: those of all together take much memory."""

    def __init__(self, folder: Path, finders: Sequence[Finder]) -> None:
        self._folder = folder
        self._finders = finders

    def __getitem__(self, finder: Finder) -> Any:
        return json.loads((self._folder / detections_file(finder)).read_bytes())

    def __iter__(self) -> Iterator[Finder]:
        return iter(self._finders)

    def __len__(self) -> int:
        return len(self._finders)


def read_classes(folder: Path) -> Vocabulary:
    """The names of the classes, from the folder of an artifact."""
    said = json.loads((folder / CLASSES_FILE).read_bytes())
    return Vocabulary("the dataset", tuple(said["names"]), tuple(said["category_ids"]))


def _facts(request: ReportRequest, store: Store) -> "ReportFacts":
    from roastery.evaluation.gate import GatePolicy
    from roastery.report.facts import ReportFacts

    sizes: dict[str, int] = {}
    digests: dict[str, str] = {}
    for name, artifact in target_of(request.target).origins(request.converted, request.onnx).items():
        sizes[name] = (store.fetch(artifact) / name).stat().st_size
        digests[name] = artifact.files[name]
    return ReportFacts(
        target=request.target,
        layers=request.layers,
        meta_architecture=request.resolved.meta_architecture,
        source=request.resolved.source,
        gate=GatePolicy(**request.gate.model_dump()),
        operators=request.operators,
        sizes=sizes,
        digests=digests,
        sources={"checkpoint": request.resolved.source_sha256, "config": request.resolved.config_sha256},
        versions=request.versions,
        timings=request.timings,
        weights=request.resolved.weights,
        export=request.export,
    )


def _result(artifact: ArtifactRef, timing: StageTiming, facts: NoFacts) -> ReportResult:
    return ReportResult(artifact=artifact, timing=timing)


STAGE = Stage(ReportRequest, NoFacts, _result, run)
