"""The target ONNX Runtime int8: the same ONNX file with layers that compute in 8 bits, for ONNX Runtime on a CPU."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from roastery.digest import JSON
from roastery.errors import ConfigError
from roastery.spec import GateSpec, Int8Spec, ModelSpec, PipelineConfig
from roastery.targets.onnxruntime import OnnxRuntimeTarget
from roastery.targets.onnxruntime.installed import require_onnxruntime
from roastery.targets.target import ConvertedModel, Made, Sample


class OnnxRuntimeInt8Target(OnnxRuntimeTarget):
    """`model.onnx`, quantized on the sampled images; detection operators stay in float32."""

    name = "onnxruntime-int8"
    title = "ONNX Runtime int8"
    suffix = ".onnx-int8"
    runtimes: Mapping[str, str] = {"onnxruntime-int8": "ONNX Runtime int8"}
    options = ("float_layers",)
    exact = False
    usual_gate = Int8Spec().gate

    def chosen(self, model: ModelSpec) -> tuple[str, ...]:
        require_onnxruntime(self.name)
        return ("onnxruntime-int8",)

    def convert(self, onnx: Path, directory: Path, sample: Sample, settings: Mapping[str, JSON]) -> Made:
        from roastery.export.onnx import load_onnx
        from roastery.onnx_runtime.files import save_model
        from roastery.onnx_runtime.lower import standard_onnx
        from roastery.onnx_runtime.quantize import quantize

        made = quantize(standard_onnx(load_onnx(onnx)), sample, _names(settings.get("float_layers", [])))
        save_model(made.model, directory)
        operators = Counter(operator.type for operator in made.model.graph.operators)
        return Made(operators, made.warnings, made.layers)

    def load(self, directory: Path, runtime: str) -> ConvertedModel:
        from roastery.onnx_runtime.model import OnnxInt8Model

        return OnnxInt8Model.load(directory)

    def settings(self, model: ModelSpec) -> dict[str, JSON]:
        return {"float_layers": list(model.int8.float_layers)}

    def gate(self, model: ModelSpec, pipeline: PipelineConfig) -> GateSpec:
        return model.int8.gate


def _names(given: JSON) -> list[str]:
    """Raises:
    ConfigError: they are no list of names.
    """
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ConfigError("float_layers: is not a list of names; write the names of modules, or globs of them")
    return [str(name) for name in given]


TARGET = OnnxRuntimeInt8Target()
