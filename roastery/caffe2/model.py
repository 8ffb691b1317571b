"""Caffe2Model: a converted model with a detectron2 model's interface."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.draw import draw_svg
from roastery.caffe2.nets import Nets, arguments_of, load_nets, save_nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.converted_detector import ConvertedDetector, Runtime
from roastery.net_arguments import NetArguments

RuntimeName = Literal["torch", "caffe2"]


class Caffe2Model(ConvertedDetector):
    """A converted model that is called as the detectron2 model was.

    The runtime starts with the first call. Close the model, or use it as a context manager, to end it.

    Examples:
        >>> model = Caffe2Model.load_protobuf("out")                                            # doctest: +SKIP
        >>> model([{"image": chw_bgr, "height": 480, "width": 640}])[0]["instances"].pred_boxes  # doctest: +SKIP
    """

    target = "caffe2"

    def __init__(self, nets: Nets, runtime: RuntimeName = "torch", threads: int | None = None) -> None:
        """Say what runs the nets, and with how many threads (default: the runtime's own setting)."""
        super().__init__()
        self.nets = nets
        self.runtime_name: RuntimeName = runtime
        self.threads = threads

    @property
    def predict_net(self) -> caffe2_pb2.NetDef:
        return self.nets.predict_net

    @property
    def init_net(self) -> caffe2_pb2.NetDef:
        return self.nets.init_net

    @classmethod
    def load_protobuf(
        cls, directory: str | Path, runtime: RuntimeName = "torch", threads: int | None = None
    ) -> "Caffe2Model":
        """Load `model.pb` and `model_init.pb`, ours or the original converter's.

        Raises:
            ModelFileError: a file that is missing or not a NetDef.
        """
        return cls(load_nets(Path(directory)), runtime, threads)

    def save_protobuf(self, directory: str | Path) -> None:
        """Write `model.pb`, `model_init.pb` and `model.pbtxt`."""
        save_nets(self.nets, Path(directory))

    def save(self, directory: str | Path) -> None:
        """As `save_protobuf`: what every target's model has."""
        self.save_protobuf(directory)

    def save_graph(self, file: str | Path) -> None:
        """Draw the predict net as SVG (needs graphviz's `dot`)."""
        draw_svg(self.predict_net, Path(file))

    @property
    def arguments(self) -> NetArguments:
        return arguments_of(self.predict_net)

    @property
    def input_names(self) -> Sequence[str]:
        return self.predict_net.external_input

    def start(self) -> Runtime:
        kind = TorchRuntime if self.runtime_name == "torch" else Caffe2Runtime
        return kind(self.nets, threads=self.threads)
