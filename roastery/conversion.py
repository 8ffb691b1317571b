"""One model converted into a folder, without a pipeline or a registry: what `roastery convert` does.

The steps are the pipeline's, one after another in this process; the folder is whole or not there.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from yacs.config import CfgNode

from roastery.config import class_count
from roastery.conversion_inputs import find_dataset, find_weights, sample_inputs
from roastery.conversion_manifest import FILES, MANIFEST_FILE, ONNX_FILE, PROGRAM_FILE, ReadFrom, write_manifest
from roastery.data.coco import CocoDataset
from roastery.data.dataset import load_dataset
from roastery.data.preprocess import net_inputs
from roastery.data.sampling import in_batches
from roastery.detectors.detector import Detector, detect_eagerly
from roastery.digest import JSON, file_sha256
from roastery.errors import DatasetError
from roastery.evaluation.gate import GatePolicy
from roastery.evaluation.predict import Model
from roastery.evaluation.sample_parity import compare_on_sample
from roastery.evaluation.side_by_side import evaluate_side_by_side
from roastery.export.onnx import export_onnx, save_onnx
from roastery.export.trace import save_program, trace
from roastery.output_folder import replaced_folder
from roastery.results import Evaluation, Finder, LayerError, ModelSource, ParitySummary
from roastery.sources.live.lazy import is_lazy
from roastery.sources.native import net_arguments
from roastery.sources.source import Original, Source, open_source
from roastery.spec import ExportSpec, SourceKind
from roastery.targets import target_of
from roastery.targets.target import Arrays, Made, Target
from roastery.weights.fetch import Told, silently
from roastery.zoo import find_config

Advance = Callable[[], None]
DATASETS_FOLDER = Path("configs/datasets")


class Progress(Protocol):
    """What is told of a conversion that goes on."""

    def step(self, text: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """A step begins, and ends with the context; `total` is how often what it gives will be called."""

    def transfer(self, text: str) -> AbstractContextManager[Told]:
        """A file begins to come from elsewhere, and is here when the context ends."""


class Silent:
    """Tells nothing."""

    @contextmanager
    def step(self, text: str, total: int | None = None) -> Iterator[Advance]:
        yield lambda: None

    def transfer(self, text: str) -> AbstractContextManager[Told]:
        return silently()


@dataclass(frozen=True)
class Code:
    """What a model is built by beside its config.

    Attributes:
        kind: "native", or "detectron2" for a live model.
        custom_modules, modules_from: as in a ModelSpec.
    """

    kind: SourceKind = "native"
    custom_modules: tuple[str, ...] = ()
    modules_from: Path | None = None

    def run_with(self, config_file: Path) -> tuple[str, ...]:
        """What of the user's is run: the config where it is a LazyConfig, and the modules."""
        return (*((config_file.name,) if is_lazy(config_file) else ()), *self.custom_modules)

    def source(self, config_file: Path, overrides: Sequence[str]) -> ModelSource:
        """With the config that they are for."""
        folder = str(self.modules_from) if self.modules_from else None
        return ModelSource(
            kind=self.kind,
            config=str(config_file),
            overrides=tuple(overrides),
            custom_modules=self.custom_modules,
            modules_from=folder,
        )


@dataclass(frozen=True)
class ConversionOutcome:
    """What a conversion left and found.

    Attributes:
        files: name to bytes, of what lies in `directory`.
        operators: type to count.
        device: what the net runs on, "cpu" or "cuda:0"; it was compared on the CPU either way.
        parity: for each runtime, how far the net is from the detector on the sample.
        sample: what the sample was, for a person.
        evaluation: None where it was not asked for.
        warnings: what could not be done and was done without.
        layers: of a target that rounds, the worst layers.
        seconds: step to its wall time.
    """

    directory: Path
    files: Mapping[str, int]
    operators: Mapping[str, int]
    device: str
    parity: tuple[ParitySummary, ...]
    sample: str
    evaluation: Evaluation | None
    warnings: tuple[str, ...]
    layers: Sequence[LayerError]
    seconds: Mapping[str, float]

    @property
    def passed(self) -> bool:
        """Parity in every runtime and, where it was evaluated, the gate."""
        return all(parity.passed for parity in self.parity) and (self.evaluation is None or self.evaluation.passed)


def convert_to_directory(
    config_file: Path,
    output: Path,
    overrides: Sequence[str] = (),
    runtimes: Sequence[str] | None = None,
    run_eval: bool = False,
    sample_images: Sequence[Path] = (),
    datasets: Path = DATASETS_FOLDER,
    policy: GatePolicy | None = None,
    progress: Progress | None = None,
    export: ExportSpec | None = None,
    code: Code | None = None,
    target: Target | None = None,
    settings: Mapping[str, JSON] | None = None,
) -> ConversionOutcome:
    """Convert a model and leave its files in a folder, which appears only when it is whole.

    A net that differs from the detector, or that fails the gate, is left all the same; the manifest has the verdict.

    Args:
        config_file: detectron2's YAML, or its name in the model zoo. MODEL.WEIGHTS is relative to the working
            directory, else to this file; or an address, from which it is fetched once.
        output: a new or empty folder, or one that holds an earlier conversion, which is replaced.
        overrides: KEY VALUE KEY VALUE ..., over the config.
        runtimes: in which the net is compared with the detector, and evaluated; default: the target's first.
        run_eval: evaluate the original and the net on the config's first DATASETS.TEST, found in the folder `datasets`.
        export: what kind of net is made; default: of one image, raw where the original's is.
        code: who builds the model, and with which modules of the user's; default: Roastery's parts alone.
        target: what it is converted to; default: Caffe2.
        settings: how, as `Target.settings` gives them.
        sample_images: images to compare on; default: some of that dataset, else a drawn one.

    Raises:
        UserError: what the user can mend, in one line.
        RuntimeFailed: a runtime died.
        WeightsUnavailable: the address of MODEL.WEIGHTS did not answer.
    """
    steps, export = _Steps(progress or Silent()), export or ExportSpec()
    target = target or target_of("caffe2")
    runtimes = runtimes or [*target.runtimes][:1]
    for runtime in runtimes:
        # What is not installed is said before anything is done.
        target.identity(runtime)
    with replaced_folder(output, FILES) as staging:
        code = code or Code()
        config_file = config_file if code.kind == "detectron2" and is_lazy(config_file) else find_config(config_file)
        source = open_source(code.source(config_file, overrides))
        # Before anything is fetched for it.
        source.require_convertible()
        config = source.config
        weights = find_weights(source.weights, config_file, lambda: steps.progress.transfer("fetch the weights"))
        with steps.step("read the model"):
            model = source.load(weights, decode=export.decode)
            detector = model.detector
            spec = find_dataset(config, datasets, required=run_eval)
            sample, sampled_from = sample_inputs(config, spec, sample_images)
            dataset = load_dataset(spec) if spec and run_eval else None
            if dataset is not None and config.MODEL.LOAD_PROPOSALS and dataset.proposals is None:
                raise DatasetError(
                    f"{dataset.name}: has no proposals, which the model takes (MODEL.LOAD_PROPOSALS); add proposals, "
                    "detectron2's pickle of them, to the dataset's YAML"
                )
            classes = class_count(config)
            if dataset is not None and classes not in (None, len(dataset.category_ids)):
                raise DatasetError(
                    f"{dataset.annotations}: has {len(dataset.category_ids)} categories, but the model "
                    f"{classes} classes; evaluate on the dataset that it was trained for"
                )
        batches = in_batches(sample, export.batch)
        road = _Road(target, runtimes, settings or {})
        made = _convert(road, config, detector, batches, staging, steps)
        parity = tuple(
            _parity(road, runtime, staging, config, detector, batches, steps) for runtime in runtimes if target.exact
        )
        evaluation = None
        if dataset is not None:
            evaluation = _evaluate(
                source, config_file, model.original, road, staging, dataset, parity, policy or GatePolicy(), steps
            )
        described = target.describe(staging)
        digest, size = file_sha256(weights), weights.stat().st_size
        read = ReadFrom(config, weights.name, digest, size, code.kind, code.run_with(config_file))
        sizes = write_manifest(staging, target, described, read, parity, evaluation)
    operators = dict(sorted(described.operators.items()))
    device = str(described.arguments.get("device", "cpu"))
    return ConversionOutcome(
        output,
        sizes,
        operators,
        device,
        parity,
        sampled_from,
        evaluation,
        tuple(made.warnings),
        made.layers,
        dict(steps.seconds),
    )


@dataclass(frozen=True)
class _Road:
    """Where a model goes, what judges it there, and how it is converted."""

    target: Target
    runtimes: Sequence[str]
    settings: Mapping[str, JSON]


@dataclass(frozen=True)
class _Steps:
    """Tells of each step, and keeps what it took."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, text: str, total: int | None = None) -> Iterator[Advance]:
        started = time.perf_counter()
        with self.progress.step(text, total) as advance:
            yield advance
        self.seconds[text] = time.perf_counter() - started


@dataclass(frozen=True)
class _Inputs:
    """What the sampled images are to a net, made anew for each time that they are asked for."""

    batches: Sequence[Sequence[Mapping[str, Any]]]
    divisibility: int
    mean: Sequence[float]

    def __iter__(self) -> Iterator[Arrays]:
        return (net_inputs(batch, self.divisibility, self.mean) for batch in self.batches)


def _inputs(batches: Sequence[Sequence[Mapping[str, Any]]], config: CfgNode, detector: Detector) -> _Inputs:
    return _Inputs(batches, detector.size_divisibility, config.MODEL.PIXEL_MEAN)


def _convert(
    road: _Road,
    config: CfgNode,
    detector: Detector,
    batches: Sequence[Sequence[Mapping[str, Any]]],
    staging: Path,
    steps: _Steps,
) -> Made:
    """Trace, export and convert. The program and the exported ONNX are left where the target keeps that ONNX too."""
    keeps = ONNX_FILE in road.target.extras
    with ExitStack() as scratch:
        exported = staging if keeps else Path(scratch.enter_context(TemporaryDirectory(prefix="roastery-")))
        with steps.step("trace"):
            traced = trace(detector, net_arguments(config, detector), len(batches[0]))
            if keeps:
                save_program(traced, staging / PROGRAM_FILE)
        with steps.step("export to ONNX"):
            save_onnx(export_onnx(traced), exported / ONNX_FILE)
        del traced
        with steps.step(f"convert to {road.target.title}"):
            # From the file, as the pipeline does: what is converted is what is left, rounded as ONNX rounds attributes.
            inputs = _inputs(batches, config, detector)
            return road.target.convert(exported / ONNX_FILE, staging, inputs, road.settings)


def _parity(
    road: _Road,
    runtime: str,
    staging: Path,
    config: CfgNode,
    detector: Detector,
    batches: Sequence[Sequence[Mapping[str, Any]]],
    steps: _Steps,
) -> ParitySummary:
    def expected() -> Iterator[tuple[Arrays, Arrays]]:
        for inputs in _inputs(batches, config, detector):
            yield inputs, detect_eagerly(detector, inputs)
            advance()

    with steps.step(f"compare in {runtime}", len(batches)) as advance:
        model = road.target.load(staging, runtime)
        try:
            return compare_on_sample(lambda inputs: model.run(**inputs), expected(), runtime)
        finally:
            model.close()


def _evaluate(
    source: Source,
    config_file: Path,
    original: Original,
    road: _Road,
    staging: Path,
    dataset: CocoDataset,
    parity: Sequence[ParitySummary],
    policy: GatePolicy,
    steps: _Steps,
) -> Evaluation:
    converted = {runtime: road.target.load(staging, runtime) for runtime in road.runtimes}
    models: dict[Finder, Model] = {"original": original, **converted}
    batch = next(iter(converted.values())).batch if converted else 1
    name = config_file.resolve().parent.name if config_file.stem == "config" else config_file.stem
    try:
        with steps.step("evaluate", len(models) * len(dataset.images)) as advance:
            return evaluate_side_by_side(
                name,
                dataset,
                source.config,
                models,
                parity,
                policy,
                lambda record: advance(),
                batch,
                source.original_kind,
            )
    finally:
        for model in converted.values():
            model.close()


__all__ = ["FILES", "MANIFEST_FILE", "ConversionOutcome", "Progress", "Silent", "convert_to_directory"]
