"""A detector from detectron2's config and checkpoint, with our own parts in its slots."""

from pathlib import Path

from yacs.config import CfgNode

from roastery.checkpoint import load_checkpoint, load_into
from roastery.detectors.fpn import build_resnet_fpn
from roastery.detectors.generalized_rcnn import GeneralizedRCNN
from roastery.detectors.roi_heads import build_roi_heads
from roastery.detectors.rpn import build_rpn
from roastery.errors import ConfigError
from roastery.export.trace import NetArgument
from roastery.metadata import CUDA_DEVICE

META_ARCHITECTURES = ("GeneralizedRCNN",)
BACKBONES = {"build_resnet_fpn_backbone": build_resnet_fpn}
DEVICES = {"cpu": "cpu", "cuda": CUDA_DEVICE, CUDA_DEVICE: CUDA_DEVICE}
"""What MODEL.DEVICE says, and what the net says of it. Caffe2 runs a net on the CPU or on the first GPU."""


def build_detector(config: CfgNode) -> GeneralizedRCNN:
    """The detector that the config describes, with random weights, in eval mode.

    Raises:
        ConfigError: a meta-architecture or a part that has no deployable form.
    """
    model = config.MODEL
    if model.META_ARCHITECTURE not in META_ARCHITECTURES:
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE: {model.META_ARCHITECTURE!r} cannot be converted; "
            f"use one of {', '.join(META_ARCHITECTURES)}"
        )
    if model.BACKBONE.NAME not in BACKBONES:
        raise ConfigError(
            f"MODEL.BACKBONE.NAME: {model.BACKBONE.NAME!r} is not known; use one of {', '.join(BACKBONES)}"
        )
    _device(config)
    if model.LOAD_PROPOSALS:
        raise ConfigError("MODEL.LOAD_PROPOSALS: precomputed proposals cannot be converted; set it to False")
    backbone = BACKBONES[model.BACKBONE.NAME](config)
    detector = GeneralizedRCNN(
        backbone,
        build_rpn(config, backbone.channels, backbone.strides),
        build_roi_heads(config, backbone.channels, backbone.strides),
        model.PIXEL_MEAN,
        model.PIXEL_STD,
    )
    return detector.eval()


def load_detector(config: CfgNode, weights: Path | str, sha256: str | None = None) -> GeneralizedRCNN:
    """The detector with a checkpoint's weights, in eval mode.

    Args:
        weights: a .pkl, .pth or .safetensors file; nothing in it is executed.
        sha256: the digest that the file must have.

    Raises:
        ConfigError, CheckpointError: see `build_detector`, `load_checkpoint` and `load_into`.
    """
    detector = build_detector(config)
    load_into(detector, load_checkpoint(weights, sha256), weights)
    return detector.requires_grad_(False)


def net_arguments(config: CfgNode, detector: GeneralizedRCNN) -> dict[str, NetArgument]:
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
    }


def _device(config: CfgNode) -> str:
    device = config.MODEL.DEVICE
    if device not in DEVICES:
        raise ConfigError(f"MODEL.DEVICE: {device!r} is none that Caffe2 runs on; use one of {', '.join(DEVICES)}")
    return DEVICES[device]
