"""The target ONNX Runtime: one ONNX file of standard operators alone, which other runtimes of ONNX take too."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from roastery.digest import JSON
from roastery.spec import ModelSpec
from roastery.targets.onnxruntime.installed import require_onnxruntime
from roastery.targets.target import ConvertedModel, Description, Made, Sample, Target


class OnnxRuntimeTarget(Target):
    """`model.onnx`, in float32."""

    name = "onnxruntime"
    title = "ONNX Runtime"
    suffix = ".onnx"
    files = ("model.onnx",)
    graph = files
    runtimes: Mapping[str, str] = {"onnxruntime": "ONNX Runtime"}
    needs = ("onnxruntime",)
    packages = ("onnxruntime",)

    def chosen(self, model: ModelSpec) -> tuple[str, ...]:
        require_onnxruntime(self.name)
        return ("onnxruntime",)

    def convert(self, onnx: Path, directory: Path, sample: Sample, settings: Mapping[str, JSON]) -> Made:
        from roastery.export.onnx import load_onnx
        from roastery.onnx_runtime.files import save_model, to_standard_model
        from roastery.onnx_runtime.lower import standard_onnx

        model = to_standard_model(standard_onnx(load_onnx(onnx)))
        save_model(model, directory)
        return Made(Counter(operator.type for operator in model.graph.operators))

    def load(self, directory: Path, runtime: str) -> ConvertedModel:
        from roastery.onnx_runtime.model import OnnxModel

        return OnnxModel.load(directory)

    def describe(self, directory: Path) -> Description:
        from roastery.net_arguments import argument_of, batch_of
        from roastery.onnx_runtime.files import load_model

        model = load_model(directory)
        return Description(
            argument_of(model.arguments, "meta_architecture", "unknown"),
            batch_of(model.arguments),
            operators=Counter(operator.type for operator in model.graph.operators),
            inputs=model.input_names,
            outputs=model.output_names,
            arguments=model.arguments,
        )


TARGET = OnnxRuntimeTarget()
