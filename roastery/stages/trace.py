"""Trace: the detector as one graph, and what it gives, eagerly, on the sample."""

from collections.abc import Mapping
from pathlib import Path

from roastery.digest import JSON, file_sha256
from roastery.results import ArtifactRef, ResolvedModel, StageResult, StageTiming
from roastery.spec import ExportSpec
from roastery.stages import at_hand
from roastery.stages.sample import INPUTS_FILE
from roastery.stages.stage import Facts, Request, Stage
from roastery.store import Store

PROGRAM_FILE = "model.pt2"
OUTPUTS_FILE = "outputs.npz"
"""`<k>/<output>` for each sampled image: what the eager detector gives."""


class TraceRequest(Request):
    """Trace this model and run it on this sample."""

    stage = "trace"
    packages = ("torch", "numpy")
    holds_weights = True

    resolved: ResolvedModel
    sample: ArtifactRef
    export: ExportSpec = ExportSpec()

    def inputs(self) -> Mapping[str, JSON]:
        return {
            "config_sha256": self.resolved.config_sha256,
            "source_sha256": self.resolved.source_sha256,
            "sample": self.sample.files[INPUTS_FILE],
            "export": self.export.model_dump(mode="json"),
        }


class TraceFacts(Facts):
    """What the traced program gives: names in their order, and detections in each sampled batch; none of raw maps."""

    outputs: tuple[str, ...]
    detections: tuple[int, ...]


class TraceResult(StageResult):
    """A traced model."""

    facts: TraceFacts


def run(request: TraceRequest, store: Store, directory: Path) -> TraceFacts:
    """Write `model.pt2` and `outputs.npz`.

    Raises:
        ConfigError: a model that has no deployable form.
        CheckpointError: a checkpoint that is damaged, unsafe, or not this model's.
        WeightsUnavailable: one that was lost again, from an address that does not answer.
    """
    from roastery.detectors.detector import detect_eagerly
    from roastery.export.trace import save_program, trace
    from roastery.sources.native import net_arguments
    from roastery.stages.arrays import load_samples, save_samples
    from roastery.stages.pinned import open_pinned
    from roastery.weights.fetch import local_weights

    source = open_pinned(request.resolved, store)
    sha256 = request.resolved.source_sha256
    weights = local_weights(request.resolved.weights, sha256)
    detector = source.load(weights, sha256, decode=request.export.decode).detector
    traced = trace(detector, net_arguments(source.config, detector), request.export.batch)
    save_program(traced, directory / PROGRAM_FILE)
    at_hand.leave(TraceRequest.stage, file_sha256(directory / PROGRAM_FILE), traced)
    outputs = []
    for sample in load_samples(store.fetch(request.sample) / INPUTS_FILE):
        outputs.append(detect_eagerly(detector, sample))
    save_samples(directory / OUTPUTS_FILE, outputs)
    found = tuple(len(sample["score_nms"]) for sample in outputs if "score_nms" in sample)
    return TraceFacts(outputs=traced.output_names, detections=found)


def _result(artifact: ArtifactRef, timing: StageTiming, facts: TraceFacts) -> TraceResult:
    return TraceResult(artifact=artifact, timing=timing, facts=facts)


STAGE = Stage(TraceRequest, TraceFacts, _result, run)
