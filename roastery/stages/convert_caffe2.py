"""Convert: ONNX to a NetDef, drawn, and compared with the eager detector on the sample."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from roastery.digest import JSON
from roastery.errors import DrawingUnavailable
from roastery.results import ArtifactRef, ParitySummary, StageResult, StageTiming
from roastery.stages.drawing import drawing_identity
from roastery.stages.export_onnx import ONNX_FILE
from roastery.stages.genuine import caffe2_identity
from roastery.stages.sample import INPUTS_FILE
from roastery.stages.stage import Facts, Request, Stage
from roastery.stages.trace import OUTPUTS_FILE
from roastery.store import Store

if TYPE_CHECKING:
    from roastery.caffe2.nets import Nets

RuntimeName = Literal["torch", "caffe2"]


class ConvertCaffe2Request(Request):
    """Convert this ONNX model, and compare in these runtimes."""

    stage = "convert_caffe2"
    packages = ("torch", "onnx", "onnx-ir", "numpy", "scipy", "protobuf", "graphviz")
    holds_weights = True

    onnx: ArtifactRef
    sample: ArtifactRef
    traced: ArtifactRef
    runtimes: tuple[RuntimeName, ...]

    def inputs(self) -> Mapping[str, JSON]:
        return {
            "onnx": self.onnx.files[ONNX_FILE],
            "sample": self.sample.files[INPUTS_FILE],
            "outputs": self.traced.files[OUTPUTS_FILE],
            "runtimes": list(self.runtimes),
            "caffe2": caffe2_identity() if "caffe2" in self.runtimes else None,
            "drawing": drawing_identity(),
        }


class ConvertCaffe2Facts(Facts):
    """The converted net: operators by type, size of its two files, parity by runtime, and what could not be done."""

    operators: dict[str, int]
    size_bytes: int
    parity: tuple[ParitySummary, ...]
    warnings: tuple[str, ...]


class ConvertCaffe2Result(StageResult):
    """A converted model."""

    facts: ConvertCaffe2Facts


def run(request: ConvertCaffe2Request, store: Store, directory: Path) -> ConvertCaffe2Facts:
    """Write `model.pb`, `model_init.pb`, `model.pbtxt`, and `model.svg` where graphviz is.

    A net that differs from the detector is a finding, not an error: the gate fails on it.

    Raises:
        ModelFileError: an ONNX model that cannot be read.
        UnsupportedOperator: an operator without a Caffe2 form.
        RuntimeFailed: genuine Caffe2 died.
    """
    from collections import Counter

    from roastery.caffe2.convert import convert
    from roastery.caffe2.draw import DRAWING_FILE, draw_svg
    from roastery.caffe2.nets import INIT_FILE, PREDICT_FILE, save_nets
    from roastery.export.onnx import load_onnx

    nets = convert(load_onnx(store.fetch(request.onnx) / ONNX_FILE))
    save_nets(nets, directory)
    warnings = []
    try:
        draw_svg(nets.predict_net, directory / DRAWING_FILE)
    except DrawingUnavailable as error:
        warnings.append(str(error))
    parity = tuple(compare(nets, runtime, request, store) for runtime in request.runtimes)
    operators = Counter(operator.type for operator in nets.predict_net.op)
    return ConvertCaffe2Facts(
        operators=dict(sorted(operators.items())),
        size_bytes=sum((directory / name).stat().st_size for name in (PREDICT_FILE, INIT_FILE)),
        parity=parity,
        warnings=tuple(warnings),
    )


def compare(nets: "Nets", runtime: RuntimeName, request: ConvertCaffe2Request, store: Store) -> ParitySummary:
    """Compare the net's outputs with the eager detector's on every sampled image."""
    from roastery.caffe2.caffe2_runtime import Caffe2Runtime
    from roastery.caffe2.torch_runtime import TorchRuntime
    from roastery.evaluation.sample_parity import compare_on_sample
    from roastery.stages.arrays import load_samples

    inputs = load_samples(store.fetch(request.sample) / INPUTS_FILE)
    expected = load_samples(store.fetch(request.traced) / OUTPUTS_FILE)
    with TorchRuntime(nets) if runtime == "torch" else Caffe2Runtime(nets) as running:
        return compare_on_sample(running.run, zip(inputs, expected, strict=True), runtime)


def _result(artifact: ArtifactRef, timing: StageTiming, facts: ConvertCaffe2Facts) -> ConvertCaffe2Result:
    return ConvertCaffe2Result(artifact=artifact, timing=timing, facts=facts)


STAGE = Stage(ConvertCaffe2Request, ConvertCaffe2Facts, _result, run)
