"""Convert: the exported ONNX to a target, and compared with the eager detector on the sample."""

import gc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roastery.digest import JSON
from roastery.results import ArtifactRef, LayerError, ParitySummary, StageResult, StageTiming
from roastery.stages.export_onnx import ONNX_FILE
from roastery.stages.sample import INPUTS_FILE
from roastery.stages.stage import Facts, Request, Stage
from roastery.stages.trace import OUTPUTS_FILE
from roastery.store import Store
from roastery.targets import TargetName, module_of, target_of

if TYPE_CHECKING:
    from roastery.targets.target import Arrays


class ConvertRequest(Request):
    """Convert this ONNX model to that target, and compare in these runtimes."""

    stage = "convert"
    packages = ("torch", "onnx", "onnx-ir", "numpy", "scipy")
    holds_weights = True

    target: TargetName
    onnx: ArtifactRef
    sample: ArtifactRef
    traced: ArtifactRef
    runtimes: tuple[str, ...]
    settings: Mapping[str, Any] = {}
    """As `Target.settings` gives them."""

    @property
    def label(self) -> str:
        return f"{self.stage}-{self.target}"

    @property
    def step(self) -> str:
        return f"{self.stage} {self.target}"

    def inputs(self) -> Mapping[str, JSON]:
        target = target_of(self.target)
        return {
            "target": self.target,
            "onnx": self.onnx.files[ONNX_FILE],
            "sample": self.sample.files[INPUTS_FILE],
            "outputs": self.traced.files[OUTPUTS_FILE],
            "runtimes": {runtime: target.identity(runtime) for runtime in self.runtimes},
            "conversion": target.identity(None),
            "settings": self.settings,
        }

    def modules(self) -> tuple[str, ...]:
        return (*super().modules(), module_of(self.target))

    def distributions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.packages, *target_of(self.target).packages)))


class ConvertFacts(Facts):
    """The converted model: operators by type, size of its files, parity by runtime, and what could not be done."""

    operators: dict[str, int]
    size_bytes: int
    parity: tuple[ParitySummary, ...]
    """None of a target that is not exact."""
    warnings: tuple[str, ...]
    layers: tuple[LayerError, ...] = ()
    """Of a target that is not exact: the worst layers first."""


class ConvertResult(StageResult):
    """A converted model."""

    facts: ConvertFacts


def run(request: ConvertRequest, store: Store, directory: Path) -> ConvertFacts:
    """Write the target's files.

    A model that differs from the detector is a finding, not an error: the gate fails on it.

    Raises:
        ModelFileError: an ONNX model that cannot be read.
        UnsupportedOperator: an operator without a form in this target.
        RuntimeFailed: a runtime died.
    """
    target = target_of(request.target)
    made = target.convert(store.fetch(request.onnx) / ONNX_FILE, directory, _Sample(request, store), request.settings)
    # The conversion's graph, weights and all, lies in reference cycles; the files are read again.
    gc.collect()
    parity = tuple(_compared(directory, runtime, request, store) for runtime in request.runtimes if target.exact)
    return ConvertFacts(
        operators=dict(sorted(made.operators.items())),
        size_bytes=sum((directory / name).stat().st_size for name in target.files),
        parity=parity,
        warnings=tuple(made.warnings),
        layers=tuple(made.layers),
    )


class _Sample:
    """The sampled images."""

    def __init__(self, request: ConvertRequest, store: Store) -> None:
        self._file = store.fetch(request.sample) / INPUTS_FILE

    def __iter__(self) -> "Iterator[Arrays]":
        from roastery.stages.arrays import load_samples

        return iter(load_samples(self._file))


def _compared(directory: Path, runtime: str, request: ConvertRequest, store: Store) -> ParitySummary:
    """The model's outputs beside the eager detector's, on every sampled image."""
    from roastery.evaluation.sample_parity import compare_on_sample
    from roastery.stages.arrays import load_samples

    expected = load_samples(store.fetch(request.traced) / OUTPUTS_FILE)
    model = target_of(request.target).load(directory, runtime)
    try:
        pairs = zip(_Sample(request, store), expected, strict=True)
        return compare_on_sample(lambda inputs: model.run(**inputs), pairs, runtime)
    finally:
        model.close()


def _result(artifact: ArtifactRef, timing: StageTiming, facts: ConvertFacts) -> ConvertResult:
    return ConvertResult(artifact=artifact, timing=timing, facts=facts)


STAGE = Stage(ConvertRequest, ConvertFacts, _result, run)
