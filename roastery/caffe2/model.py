"""Caffe2Model: a converted model with a detectron2 model's interface."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

import torch
from numpy.typing import NDArray

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.draw import draw_svg
from roastery.caffe2.net_settings import panoptic_settings, retinanet_settings
from roastery.caffe2.nets import Nets, batch_size, load_nets, net_argument, save_nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.data.preprocess import net_inputs, padded_size
from roastery.errors import DatasetError, RuntimeFailed
from roastery.postprocess.instances import assemble_instances, resize_to_original
from roastery.postprocess.panoptic import panoptic_answer, resize_logits
from roastery.postprocess.proposals import assemble_proposals
from roastery.postprocess.retinanet import decode_maps

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

    def __init__(self, nets: Nets, runtime: RuntimeName = "torch", threads: int | None = None) -> None:
        """Say what runs the nets, and with how many threads (default: the runtime's own setting)."""
        self.nets = nets
        self.runtime_name: RuntimeName = runtime
        self._threads = threads
        self._runtime: Runtime | None = None

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

    def save_graph(self, file: str | Path) -> None:
        """Draw the predict net as SVG (needs graphviz's `dot`)."""
        draw_svg(self.predict_net, Path(file))

    def run(
        self, data: NDArray[Any], im_info: NDArray[Any], rois: NDArray[Any] | None = None
    ) -> dict[str, NDArray[Any]]:
        """The net's raw outputs by name.

        Args:
            data: (N, 3, H, W) float32.
            im_info: (N, 3) float32.
            rois: (n, 5) float32, index of the image and xyxy pixels, for a net that takes proposals.
        """
        if self._runtime is None:
            kind = TorchRuntime if self.runtime_name == "torch" else Caffe2Runtime
            self._runtime = kind(self.nets, threads=self._threads)
        proposals = {} if rois is None else {"rois": rois}
        return self._runtime.run({"data": data, "im_info": im_info, **proposals})

    def __call__(self, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Detect.

        Args:
            inputs: for each image {"image": (3, h, w) tensor, BGR 0..255, as the resize left it; "height", "width": of
                the original image, to which boxes and masks are scaled (default: h and w)}. For a net that takes
                proposals also "proposals": Instances with proposal_boxes, pixels of the resized image.

        Returns:
            For each image {"instances": Instances} with pred_boxes (xyxy pixels of the original image), scores,
            pred_classes and, from a net that has them, pred_masks (n, height, width) bool and pred_keypoints (n, K, 3)
            x, y, score. A panoptic model's have also "sem_seg" (C, height, width), logits, and "panoptic_seg", as
            `postprocess.panoptic` says. A SemanticSegmentor's have "sem_seg" alone, a ProposalNetwork's {"proposals":
            Instances} with proposal_boxes and objectness_logits, by falling objectness.

        A net for batches of N takes N images of one padded size together, so that each has no more padding than it has
        alone, and gives what it gives alone. Where fewer are left, a plain image fills the batch up.
        """
        answers: list[dict[str, Any]] = [{}] * len(inputs)
        for places in self._batches(inputs):
            for place, answer in zip(places, self._detect([inputs[place] for place in places]), strict=True):
                answers[place] = answer
        return answers

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

    @property
    def batch(self) -> int:
        """How many images the net takes at once."""
        return batch_size(self.predict_net)

    @property
    def _divisibility(self) -> int:
        return net_argument(self.predict_net, "size_divisibility", 0)

    def _batches(self, inputs: Sequence[Mapping[str, Any]]) -> Iterator[list[int]]:
        """Which inputs go together."""
        by_size: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for place, single in enumerate(inputs):
            by_size[padded_size([single["image"].shape[-2:]], self._divisibility)].append(place)
        for places in by_size.values():
            yield from (places[start : start + self.batch] for start in range(0, len(places), self.batch))

    def _detect(self, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if self._takes_proposals and not all("proposals" in single for single in inputs):
            raise DatasetError(
                "the model takes precomputed proposals; give each image's as 'proposals', Instances with proposal_boxes"
            )
        # The original's nets do not say what to pad with: they were fed zeros.
        first = inputs[0]["image"]
        mean = net_argument(self.predict_net, "pixel_mean", [0.0] * len(first))
        plain = torch.tensor(mean).reshape(-1, 1, 1).expand(first.shape)
        filled = [*inputs, *({**inputs[0], "image": plain} for _ in range(self.batch - len(inputs)))]
        raw = self.run(**net_inputs(filled, self._divisibility, mean))
        outputs = {name: torch.from_numpy(array) for name, array in raw.items()}
        seen = [(int(single["image"].shape[1]), int(single["image"].shape[2])) for single in filled]
        # What filled the batch up comes last, and is not asked for.
        originals = [
            (single.get("height", size[0]), single.get("width", size[1]))
            for single, size in zip(inputs, seen, strict=False)
        ]
        architecture = net_argument(self.predict_net, "meta_architecture", "GeneralizedRCNN")
        if architecture == "ProposalNetwork":
            proposals = assemble_proposals(outputs, seen)
            return [{"proposals": resize_to_original(proposals[i], *size)} for i, size in enumerate(originals)]
        if architecture == "SemanticSegmentor":
            maps = [_of_image(outputs, i, size) for i, size in enumerate(seen)]
            return [{"sem_seg": resize_logits(maps[i], seen[i], *size)} for i, size in enumerate(originals)]
        if "bbox_nms" not in outputs and (settings := retinanet_settings(self.predict_net)):
            outputs = decode_maps(outputs, settings)
        found = assemble_instances(outputs, seen)
        instances = [resize_to_original(found[i], *size) for i, size in enumerate(originals)]
        panoptic = panoptic_settings(self.predict_net)
        if panoptic is None:
            return [{"instances": each} for each in instances]
        return [
            panoptic_answer(each, _of_image(outputs, i, seen[i]), seen[i], panoptic) for i, each in enumerate(instances)
        ]

    @property
    def _takes_proposals(self) -> bool:
        return "rois" in self.predict_net.external_input


def _of_image(outputs: Mapping[str, torch.Tensor], index: int, size: tuple[int, int]) -> torch.Tensor:
    """The semantic logits of an image, (C, H, W)."""
    logits = outputs.get("sem_seg")
    if logits is None or logits.dim() != 4 or len(logits) <= index or logits.shape[1] == 0:
        raise RuntimeFailed(f"the net gave sem_seg of shape {None if logits is None else tuple(logits.shape)}")
    if logits.shape[2] < size[0] or logits.shape[3] < size[1] or not bool(logits.isfinite().all()):
        raise RuntimeFailed("the net gave sem_seg that is smaller than the image, or holds NaN or infinity")
    return logits[index]
