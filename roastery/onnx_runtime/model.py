"""OnnxModel: a converted model with a detectron2 model's interface, in ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from roastery.converted_detector import ConvertedDetector, Runtime
from roastery.graph_drawing import draw_graph
from roastery.net_arguments import NetArguments
from roastery.onnx_runtime.files import StandardModel, load_model, save_model
from roastery.onnx_runtime.runtime import OnnxRuntime


class OnnxModel(ConvertedDetector):
    """A converted model of standard ONNX that is called as the detectron2 model was.

    The session starts with the first call. Close the model, or use it as a context manager, to end it.

    Examples:
        >>> model = OnnxModel.load("out")                                                        # doctest: +SKIP
        >>> model([{"image": chw_bgr, "height": 480, "width": 640}])[0]["instances"].pred_boxes  # doctest: +SKIP
    """

    target = "onnxruntime"

    def __init__(self, model: StandardModel, threads: int | None = None) -> None:
        """Take a checked model.

        Args:
            threads: how many an operator may take; None for as many as PyTorch takes.
        """
        super().__init__()
        self.model = model
        self.threads = threads

    @classmethod
    def load(cls, directory: str | Path, threads: int | None = None) -> Self:
        """Load `model.onnx`.

        Raises:
            ModelFileError: a file that is missing, or no converted model.
        """
        return cls(load_model(Path(directory)), threads)

    def save(self, directory: str | Path) -> None:
        """Write `model.onnx`."""
        save_model(self.model, Path(directory))

    def save_graph(self, file: str | Path) -> None:
        """Draw the model as SVG (needs graphviz's `dot`); what was lowered from one operator is one box."""
        draw_graph(self.model.drawing, Path(file))

    @property
    def arguments(self) -> NetArguments:
        return self.model.arguments

    @property
    def input_names(self) -> Sequence[str]:
        return self.model.input_names

    def start(self) -> Runtime:
        return OnnxRuntime(self.model, self.threads)


class OnnxInt8Model(OnnxModel):
    """The same of a quantized model (`quantize`)."""

    target = "onnxruntime-int8"
