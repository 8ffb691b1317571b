"""A detector from detectron2's config and checkpoint, with our own parts in its slots."""

from pathlib import Path

from yacs.config import CfgNode

from roastery.checkpoint import load_checkpoint, load_into
from roastery.detectors.build import build_model
from roastery.detectors.detector import Detector, NetArgument
from roastery.detectors.retinanet import RetinaNet
from roastery.errors import ConfigError
from roastery.metadata import CUDA_DEVICE

DEVICES = {"cpu": "cpu", "cuda": CUDA_DEVICE, CUDA_DEVICE: CUDA_DEVICE}
"""What MODEL.DEVICE says, and what the net says of it. Caffe2 runs a net on the CPU or on the first GPU."""


def build_detector(config: CfgNode, decode: bool = False) -> Detector:
    """The detector that the config describes, with random weights, in eval mode.

    Args:
        decode: whether a RetinaNet gives detections instead of the original's raw maps. The others always do.

    Raises:
        ConfigError: a meta-architecture or a part that has no deployable form.
    """
    _device(config)
    detector = build_model(config)
    if decode and isinstance(detector, RetinaNet):
        detector.give_detections()
    return detector.eval()


def load_detector(config: CfgNode, weights: Path | str, sha256: str | None = None, *, decode: bool = False) -> Detector:
    """The detector with a checkpoint's weights, in eval mode.

    Args:
        weights: a .pkl, .pth or .safetensors file; nothing in it is executed.
        sha256: the digest that the file must have.
        decode: as in `build_detector`.

    Raises:
        ConfigError, CheckpointError: see `build_detector`, `load_checkpoint` and `load_into`.
    """
    detector = build_detector(config, decode)
    load_into(detector, load_checkpoint(weights, sha256), weights)
    return detector.requires_grad_(False)


def net_arguments(config: CfgNode, detector: Detector) -> dict[str, NetArgument]:
    """What the converted net says of itself: the original's arguments, and how to preprocess an image for it.

    `pixel_mean` is what to pad with, in `input_format`'s order; the shortest side is scaled to `min_size_test` unless
    the longest would pass `max_size_test`.
    """
    return {
        "size_divisibility": detector.size_divisibility,
        "device": _device(config),
        "meta_architecture": detector.meta_architecture,
        "pixel_mean": [float(value) for value in config.MODEL.PIXEL_MEAN],
        "input_format": config.INPUT.FORMAT,
        "min_size_test": config.INPUT.MIN_SIZE_TEST,
        "max_size_test": config.INPUT.MAX_SIZE_TEST,
        **detector.net_arguments(),
    }


def _device(config: CfgNode) -> str:
    device = config.MODEL.DEVICE
    if device not in DEVICES:
        raise ConfigError(f"MODEL.DEVICE: {device!r} is none that Caffe2 runs on; use one of {', '.join(DEVICES)}")
    return DEVICES[device]
