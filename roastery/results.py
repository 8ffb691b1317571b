"""What passes between the stages: small, frozen, JSON. Tensors and modules lie in the store, never here."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from roastery.spec import ExportSpec, SourceKind
from roastery.targets import TargetName

Finder = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
"""Who found detections: "original", or of the converted model the runtime that did ("torch", "caffe2", ...)."""

Metrics = dict[str, dict[str, float | None]]
"""IoU type to metric ("AP", "AP50", "AP-circle", ...) to 0..100; None where COCO defines none.

The IoU types are COCO's "bbox", "segm" and "keypoints", and detectron2's "panoptic_seg" (PQ) and "sem_seg" (mIoU).
"""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measures(_Frozen):
    """What is measured of a model: the IoU types, and of keypoints how far each may be off."""

    iou_types: tuple[str, ...]
    oks_sigmas: tuple[float, ...] = ()
    """For each keypoint, relative to the object's size; none: COCO's own, of its 17."""


class ArtifactRef(_Frozen):
    """An artifact folder in the store: the stage that made it, its key and where it lies."""

    # They become part of paths.
    stage: str = Field(pattern=r"^[a-z0-9_]+$")
    key: str = Field(pattern=r"^[0-9a-z]+$")
    uri: str
    files: dict[str, str]
    """File name to sha256."""

    @property
    def name(self) -> str:
        """What tells it from all others of its store: "stage/key"."""
        return f"{self.stage}/{self.key}"


OriginalKind = Literal["reference", "detectron2"]
"""What a converted model is measured by: our reference of detectron2, or the live model."""


class ModelSource(_Frozen):
    """How a model is built where its weights are loaded. The digests of all that is named here are in its config's."""

    kind: SourceKind
    config: str
    """Path of its YAML or LazyConfig."""
    overrides: tuple[str, ...] = ()
    custom_modules: tuple[str, ...] = ()
    modules_from: str | None = None
    """Folder in which custom modules are found beside what is installed."""


class ResolvedModel(_Frozen):
    """A registered model with its inputs pinned: what every later stage starts from."""

    name: str
    meta_architecture: str
    artifact: ArtifactRef
    """Holds `config.yaml`, the full config."""
    config_sha256: str
    weights: str
    """Path or URI of the checkpoint."""
    source_sha256: str
    """Digest of the checkpoint's bytes."""
    weights_bytes: int
    source: ModelSource | None = None
    """None for a native model that is made of its config alone."""

    @property
    def original_kind(self) -> OriginalKind:
        """What it is measured by."""
        return "detectron2" if self.source is not None and self.source.kind == "detectron2" else "reference"


class PinnedDataset(_Frozen):
    """A dataset as it was when the run began: what is evaluated on and what is sampled from."""

    name: str
    sha256: str
    images: int
    sample_sha256: str


class ParitySummary(_Frozen):
    """How far the converted net's outputs are from the eager detector's on the sample."""

    passed: bool
    images: int
    differences: tuple[str, ...]
    largest: dict[str, float]
    runtime: Finder


class LayerError(_Frozen):
    """How far a layer's values are, after rounding, from the same layer's without it."""

    layer: str
    """The detector's module, as its checkpoint names it."""
    operator: str
    error: float
    """Root mean square of the difference over that of the values, on the sample: 0 for none."""


class LatencySummary(_Frozen):
    """Milliseconds an image, network only."""

    median_ms: float
    p90_ms: float
    images: int


class VerdictSummary(_Frozen):
    """The gate's word on one target, with its reasons where it did not pass."""

    passed: bool
    reasons: tuple[str, ...]
    deltas: dict[str, float | None]
    """"bbox/AP" and so on: converted minus original."""


class Evaluation(_Frozen):
    """The converted model beside its original, on the same images, in the same run."""

    model: str
    original_kind: OriginalKind
    dataset: str
    dataset_sha256: str
    images: int
    failed_images: tuple[str, ...]
    metrics: dict[Finder, Metrics]
    latency: dict[Finder, LatencySummary]
    parity: tuple[ParitySummary, ...]
    verdicts: dict[Finder, VerdictSummary]
    """One for each runtime that ran: "torch", "caffe2", ..."""
    passed: bool
    judged_by: Finder
    """The most genuine runtime that judged."""


class StageTiming(_Frozen):
    """What a stage cost. `cached` says that it was found in the store and not run."""

    stage: str
    seconds: float
    peak_memory_mb: float
    cached: bool


class StageResult(_Frozen):
    """What every stage gives: its artifact and its cost. A stage's own result adds the facts that others need."""

    artifact: ArtifactRef
    timing: StageTiming


class Conversion(_Frozen):
    """One model's way through the pipeline: what is logged, reported and printed."""

    key: str
    """Covers every input of every stage: one key, one registered version."""
    resolved: ResolvedModel
    evaluation: Evaluation
    target: TargetName = "caffe2"
    converted: ArtifactRef
    """The target's files: of Caffe2 `model.pb`, `model_init.pb`, `model.pbtxt`, `model.svg` where graphviz is."""
    onnx: ArtifactRef
    program: ArtifactRef
    evaluated: ArtifactRef
    """`evaluation.json`, `curves.json`, detections of every target as COCO results."""
    report: ArtifactRef
    """`report.html`, `report.md` and its pictures."""
    timings: tuple[StageTiming, ...]
    export: ExportSpec = ExportSpec()
    """What kind of net was made."""
    settings: dict[str, str] = {}
    """What else was asked for, by its name in the configs: `gate/max_ap_delta`, `sample/n`, ..."""
    versions: dict[str, str]
    """Of roastery, python, torch, onnx, numpy, ..."""
    artifacts: tuple[str, ...] = ()
    """Every one that it was made by, as "stage/key"; none where it was filed before that was told."""

    @property
    def needed(self) -> frozenset[str]:
        """All that must be in the store for the conversion to be whole there, as "stage/key"."""
        known = (self.resolved.artifact, self.converted, self.onnx, self.program, self.evaluated, self.report)
        return frozenset(self.artifacts) | {artifact.name for artifact in known}


class Registered(_Frozen):
    """Where a conversion was filed."""

    run_id: str
    run_url: str
    """Where a person sees the run: its page on a server, or beside a database its report."""
    name: str
    version: int
    alias: str | None
    tracking_uri: str
    created: bool
    """False where an earlier attempt had made the version already."""


class ConvertedSource(_Frozen):
    """The newest converted version of a model, and what it was made of, as its tags say."""

    version: int
    source_sha256: str | None
    config_sha256: str | None
    export: str | None
    """The ExportSpec as canonical JSON; None of versions from before it was told."""


class StageFailure(_Frozen):
    """Where and why a model's run ended before its conversion was filed."""

    stage: str
    """"resolve", ..., "log"; "flow" where no stage had begun."""
    reason: str
    """One line."""
    mistake: bool
    """Whether it is the user's to mend."""
    look: str | None = None
    """The folder that the failed stage left: its log, its inputs."""
    command: str | None = None
    """What runs that stage alone."""


class Filed(_Frozen):
    """A conversion to one target, and where it was filed."""

    conversion: Conversion
    registered: Registered


class ModelOutcome(_Frozen):
    """How a model's run through the pipeline ended: what it was converted to and filed as, and where it failed."""

    model: str
    filed: tuple[Filed, ...] = ()
    """A conversion for each target that was reached, in the order in which they were asked for."""
    failure: StageFailure | None = None
    """None where the model was converted to every target (a gate may have failed all the same)."""
    seconds: float

    @property
    def conversion(self) -> Conversion | None:
        """The first target's."""
        return self.filed[0].conversion if self.filed else None

    @property
    def registered(self) -> Registered | None:
        """The first target's."""
        return self.filed[0].registered if self.filed else None

    @property
    def passed(self) -> bool:
        """Whether the model was converted to every target, and every gate passed."""
        return self.failure is None and all(each.conversion.evaluation.passed for each in self.filed)


class Figure(_Frozen):
    """The main figure of an IoU type, of the original and of the converted model: 0..100, None where there is none."""

    iou_type: str
    metric: str
    original: float | None
    converted: float | None

    @property
    def difference(self) -> float | None:
        """Converted minus original."""
        return None if self.original is None or self.converted is None else self.converted - self.original


Ending = Literal["passed", "failed its gate", "failed", "crashed", "timed out", "cancelled"]
"""How a model's run ended. `failed`: a stage did; `crashed`: its process died, and no stage could say why."""


class TargetSummary(_Frozen):
    """What became of a model in one target."""

    target: TargetName
    passed: bool
    """Whether its gate passed."""
    figures: tuple[Figure, ...]
    judged_by: Finder
    reasons: tuple[str, ...] = ()
    """Why its gate failed."""
    registered: Registered | None = None
    report: str | None = None
    """Where the report's artifact lies."""
    artifacts: str
    """Where the converted model lies."""


class ModelSummary(_Frozen):
    """How a model's run ended, in a few kilobytes: what a fleet keeps of each of its models."""

    model: str
    ended: Ending
    unchanged: bool = False
    """Whether its conversions were found whole in the store and filed, so that nothing was run."""
    targets: tuple[TargetSummary, ...] = ()
    """Those that were reached, in the order in which they were asked for."""
    failure: StageFailure | None = None
    seconds: float = 0.0

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why gates failed."""
        return tuple(reason for each in self.targets for reason in each.reasons)

    @property
    def passed(self) -> bool:
        """Whether the model was converted and its gate passed."""
        return self.ended == "passed"


class FleetSummary(_Frozen):
    """How each model of a fleet ended, in the order in which they were asked for."""

    models: tuple[ModelSummary, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """The models that were not converted, or failed their gate."""
        return tuple(each.model for each in self.models if not each.passed)
