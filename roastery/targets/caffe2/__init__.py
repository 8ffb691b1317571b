"""The target Caffe2: two NetDefs, run by the torch runtime or by genuine Caffe2."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from roastery.digest import JSON
from roastery.errors import Caffe2Unavailable
from roastery.spec import ModelSpec
from roastery.targets.caffe2.drawing import drawing_identity
from roastery.targets.caffe2.genuine import caffe2_identity, require_caffe2
from roastery.targets.target import NET_INPUTS, ConvertedModel, Description, Made, Sample, Target


class Caffe2(Target):
    """`model.pb`, `model_init.pb`, `model.pbtxt`, and `model.svg` where graphviz is."""

    name = "caffe2"
    title = "Caffe2"
    suffix = ".caffe2"
    files = ("model.pb", "model_init.pb")
    # The parameters are most of a model.
    graph = ("model.pb",)
    extras = ("model.pbtxt", "model.svg", "model.onnx")
    runtimes: Mapping[str, str] = {"torch": "torch runtime", "caffe2": "genuine Caffe2"}
    needs = ("protobuf",)
    packages = ("protobuf", "graphviz")

    def chosen(self, model: ModelSpec) -> tuple[str, ...]:
        """As the spec's `runtimes` says. `auto` takes genuine Caffe2 where it is installed."""
        if model.runtimes == "torch":
            return ("torch",)
        try:
            require_caffe2()
        except Caffe2Unavailable:
            if model.runtimes == "auto":
                return ("torch",)
            raise
        return ("caffe2",) if model.runtimes == "caffe2" else ("torch", "caffe2")

    def identity(self, runtime: str | None) -> JSON:
        if runtime is None:
            return drawing_identity()
        return caffe2_identity() if runtime == "caffe2" else None

    def convert(self, onnx: Path, directory: Path, sample: Sample, settings: Mapping[str, JSON]) -> Made:
        from roastery.caffe2.convert import convert
        from roastery.caffe2.draw import DRAWING_FILE, draw_svg
        from roastery.caffe2.nets import save_nets
        from roastery.errors import DrawingUnavailable
        from roastery.export.onnx import load_onnx

        nets = convert(load_onnx(onnx))
        save_nets(nets, directory)
        warnings = []
        try:
            draw_svg(nets.predict_net, directory / DRAWING_FILE)
        except DrawingUnavailable as error:
            warnings.append(str(error))
        return Made(Counter(operator.type for operator in nets.predict_net.op), warnings)

    def load(self, directory: Path, runtime: str) -> ConvertedModel:
        from roastery.caffe2.model import Caffe2Model

        return Caffe2Model.load_protobuf(directory, "caffe2" if runtime == "caffe2" else "torch")

    def describe(self, directory: Path) -> Description:
        from roastery.caffe2.arguments import argument_value
        from roastery.caffe2.nets import PREDICT_FILE, batch_size, load_net, net_argument

        net = load_net(directory / PREDICT_FILE)
        return Description(
            net_argument(net, "meta_architecture", "unknown"),
            batch_size(net),
            operators=Counter(operator.type for operator in net.op),
            inputs=[name for name in net.external_input if name in NET_INPUTS],
            outputs=list(net.external_output),
            arguments={argument.name: argument_value(argument) for argument in net.arg},
        )


TARGET = Caffe2()
