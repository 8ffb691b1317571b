"""Export: the traced program as ONNX, checked."""

from collections.abc import Mapping
from pathlib import Path

from roastery.digest import JSON
from roastery.results import ArtifactRef, StageResult, StageTiming
from roastery.stages import at_hand
from roastery.stages.stage import Facts, Request, Stage
from roastery.stages.trace import PROGRAM_FILE, TraceRequest
from roastery.store import Store

ONNX_FILE = "model.onnx"


class ExportOnnxRequest(Request):
    """Export this traced program."""

    stage = "export_onnx"
    packages = ("torch", "onnx", "onnx-ir", "onnxscript")
    holds_weights = True
    goes_on_from = TraceRequest.stage

    program: ArtifactRef

    def inputs(self) -> Mapping[str, JSON]:
        return {"program": self.program.files[PROGRAM_FILE]}


class ExportOnnxFacts(Facts):
    """The ONNX model: its number of nodes and its size."""

    nodes: int
    size_bytes: int


class ExportOnnxResult(StageResult):
    """An ONNX model."""

    facts: ExportOnnxFacts


def run(request: ExportOnnxRequest, store: Store, directory: Path) -> ExportOnnxFacts:
    """Write `model.onnx`.

    Raises:
        ModelFileError: a program that cannot be read.
        UnsupportedOperator: an operator without an ONNX form.
    """
    from roastery.export.onnx import export_onnx, save_onnx
    from roastery.export.trace import load_program

    traced = at_hand.take(TraceRequest.stage, request.program.files[PROGRAM_FILE])
    model = export_onnx(traced or load_program(store.fetch(request.program) / PROGRAM_FILE))
    path = directory / ONNX_FILE
    save_onnx(model, path)
    return ExportOnnxFacts(nodes=len(model.graph), size_bytes=path.stat().st_size)


def _result(artifact: ArtifactRef, timing: StageTiming, facts: ExportOnnxFacts) -> ExportOnnxResult:
    return ExportOnnxResult(artifact=artifact, timing=timing, facts=facts)


STAGE = Stage(ExportOnnxRequest, ExportOnnxFacts, _result, run)
