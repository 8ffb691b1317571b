"""Caffe2Model: a converted model with a detectron2 model's interface."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.draw import draw_svg
from roastery.caffe2.nets import Nets, load_nets, net_argument, save_nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.data.preprocess import pad_and_batch
from roastery.postprocess.instances import assemble_instances, resize_to_original
from roastery.structures import Instances

RuntimeName = Literal["torch", "caffe2"]


class Runtime(Protocol):
    """What runs a net: the torch runtime, or genuine Caffe2 in an interpreter of its own."""

    def run(
        self, inputs: Mapping[str, NDArray[Any]], fetch: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]: ...

    def close(self) -> None: ...


class Caffe2Model:
    """A converted model that is called as the detectron2 model was.

    The runtime starts with the first call. Close the model, or use it as a context manager, to end it.

    Examples:
        >>> model = Caffe2Model.load_protobuf("out")                                            # doctest: +SKIP
        >>> model([{"image": chw_bgr, "height": 480, "width": 640}])[0]["instances"].pred_boxes  # doctest: +SKIP
    """

    def __init__(self, nets: Nets, runtime: RuntimeName = "torch") -> None:
        self.nets = nets
        self.runtime_name: RuntimeName = runtime
        self._runtime: Runtime | None = None

    @property
    def predict_net(self) -> caffe2_pb2.NetDef:
        return self.nets.predict_net

    @property
    def init_net(self) -> caffe2_pb2.NetDef:
        return self.nets.init_net

    @classmethod
    def load_protobuf(cls, directory: str | Path, runtime: RuntimeName = "torch") -> "Caffe2Model":
        """Load `model.pb` and `model_init.pb`, ours or the original converter's.

        Raises:
            ModelFileError: a file that is missing or not a NetDef.
        """
        return cls(load_nets(Path(directory)), runtime)

    def save_protobuf(self, directory: str | Path) -> None:
        """Write `model.pb`, `model_init.pb` and `model.pbtxt`."""
        save_nets(self.nets, Path(directory))

    def save_graph(self, file: str | Path) -> None:
        """Draw the predict net as SVG (needs graphviz's `dot`)."""
        draw_svg(self.predict_net, Path(file))

    def run(self, data: NDArray[Any], im_info: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The net's raw outputs by name, for `data` (N, 3, H, W) float32 and `im_info` (N, 3) float32."""
        if self._runtime is None:
            self._runtime = TorchRuntime(self.nets) if self.runtime_name == "torch" else Caffe2Runtime(self.nets)
        return self._runtime.run({"data": data, "im_info": im_info})

    def __call__(self, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Instances]]:
        """Detect.

        Args:
            inputs: for each image {"image": (3, h, w) tensor, BGR 0..255, as the resize left it; "height", "width": of
                the original image, to which boxes and masks are scaled (default: h and w)}.

        Returns:
            For each image {"instances": Instances} with pred_boxes (xyxy pixels of the original image), scores,
            pred_classes and, from a net with masks, pred_masks (n, height, width) bool.
        """
        return [{"instances": self._detect(single)} for single in inputs]

    def close(self) -> None:
        if self._runtime is not None:
            self._runtime.close()
            self._runtime = None

    def __enter__(self) -> "Caffe2Model":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _detect(self, single: Mapping[str, Any]) -> Instances:
        image = single["image"].to(torch.float32)
        # The original's nets do not say what to pad with: they were fed zeros.
        mean = net_argument(self.predict_net, "pixel_mean", [0.0] * len(image))
        data, im_info = pad_and_batch([image], net_argument(self.predict_net, "size_divisibility", 0), mean)
        outputs = self.run(np.asarray(data), np.asarray(im_info))
        height, width = (int(size) for size in image.shape[-2:])
        (instances,) = assemble_instances(
            {name: torch.from_numpy(array) for name, array in outputs.items()}, [(height, width)]
        )
        return resize_to_original(instances, single.get("height", height), single.get("width", width))
