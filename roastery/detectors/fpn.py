"""Feature pyramid over a ResNet, with detectron2's module names.

Source: Lin et al., Feature Pyramid Networks (arXiv:1612.03144); names and fusing follow detectron2 0.5.
"""

import math
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.backbone import Backbone, ShapeSpec
from roastery.detectors.convolution import Convolution, build_norm
from roastery.detectors.registries import BACKBONE_REGISTRY
from roastery.detectors.resnet import ResNet, build_resnet
from roastery.errors import ConfigError


class LastLevelMaxPool(nn.Module):
    """One level more: every second pixel of the coarsest."""

    count = 1

    def forward(self, bottom_up: dict[str, Tensor], coarsest: Tensor) -> list[Tensor]:
        return [F.max_pool2d(coarsest, kernel_size=1, stride=2, padding=0)]


class LastLevelP6P7(nn.Module):
    """Two levels more, by convolutions of stride 2 from res5."""

    count = 2

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)

    def forward(self, bottom_up: dict[str, Tensor], coarsest: Tensor) -> list[Tensor]:
        p6 = self.p6(bottom_up["res5"])
        return [p6, self.p7(F.relu(p6))]


class FPN(Backbone):
    """p2 to p5 from res2 to res5 (as `in_features` says), and what `top_block` adds: p6, or p6 and p7.

    `forward` takes normalised images (N, 3, H, W), H and W multiples of `size_divisibility`, and gives
    {"p2": (N, C, H/4, W/4), ...}.
    """

    def __init__(
        self,
        bottom_up: ResNet,
        in_features: list[str],
        channels: int,
        norm: str,
        fuse: str,
        top_block: LastLevelMaxPool | LastLevelP6P7,
    ) -> None:
        shapes = bottom_up.output_shape()
        lower = [int(math.log2(shapes[name].stride or 1)) for name in in_features]
        upper = [lower[-1] + 1 + index for index in range(top_block.count)]
        strides = {f"p{level}": 2**level for level in [*lower, *upper]}
        super().__init__()
        self._out_features = list(strides)
        self._out_feature_channels = dict.fromkeys(strides, channels)
        self._out_feature_strides = strides
        self._size_divisibility: int = strides[f"p{lower[-1]}"]
        self.bottom_up = bottom_up
        self.in_features = in_features
        self.fuse = fuse
        self.top_block = top_block
        self.lower_levels = lower
        self.upper_levels = upper
        for name, level in zip(in_features, lower, strict=True):
            bias = norm == ""
            key = "MODEL.FPN.NORM"
            lateral = Convolution(
                shapes[name].channels or 0, channels, 1, bias=bias, norm=build_norm(norm, channels, key)
            )
            output = Convolution(channels, channels, 3, padding=1, bias=bias, norm=build_norm(norm, channels, key))
            self.add_module(f"fpn_lateral{level}", lateral)
            self.add_module(f"fpn_output{level}", output)

    @property
    def size_divisibility(self) -> int:
        return self._size_divisibility

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        bottom_up = self.bottom_up(x)
        outputs: dict[str, Tensor] = {}
        merged: Tensor | None = None
        for name, level in reversed(list(zip(self.in_features, self.lower_levels, strict=True))):
            lateral = self.get_submodule(f"fpn_lateral{level}")(bottom_up[name])
            if merged is None:
                merged = lateral
            else:
                merged = lateral + F.interpolate(merged, scale_factor=2.0, mode="nearest")
                if self.fuse == "avg":
                    merged = merged / 2
            outputs[f"p{level}"] = self.get_submodule(f"fpn_output{level}")(merged)
        coarser = self.top_block(bottom_up, outputs[f"p{self.lower_levels[-1]}"])
        outputs |= {f"p{level}": map for level, map in zip(self.upper_levels, coarser, strict=True)}
        return {name: outputs[name] for name in self._out_features}


@BACKBONE_REGISTRY.register_as("build_resnet_fpn_backbone")
def build_resnet_fpn(config: CfgNode, input_shape: ShapeSpec) -> FPN:
    """The backbone that detectron2 calls `build_resnet_fpn_backbone`, without weights."""
    return _build_fpn(config, build_resnet(config, input_shape), LastLevelMaxPool())


@BACKBONE_REGISTRY.register_as("build_retinanet_resnet_fpn_backbone")
def build_retinanet_resnet_fpn(config: CfgNode, input_shape: ShapeSpec) -> FPN:
    """The backbone that detectron2 calls `build_retinanet_resnet_fpn_backbone`, without weights."""
    bottom_up = build_resnet(config, input_shape)
    shapes = bottom_up.output_shape()
    if "res5" not in shapes:
        raise ConfigError(
            f"MODEL.RESNETS.OUT_FEATURES: {list(shapes)} lack res5, from which p6 and p7 are made; add it"
        )
    return _build_fpn(config, bottom_up, LastLevelP6P7(shapes["res5"].channels or 0, config.MODEL.FPN.OUT_CHANNELS))


def _build_fpn(config: CfgNode, bottom_up: ResNet, top_block: LastLevelMaxPool | LastLevelP6P7) -> FPN:
    fpn = config.MODEL.FPN
    if fpn.FUSE_TYPE not in ("sum", "avg"):
        raise ConfigError(f"MODEL.FPN.FUSE_TYPE: {fpn.FUSE_TYPE!r} is neither 'sum' nor 'avg'")
    shapes = bottom_up.output_shape()
    missing = [name for name in fpn.IN_FEATURES if name not in shapes]
    if missing or not fpn.IN_FEATURES:
        raise ConfigError(
            f"MODEL.FPN.IN_FEATURES: {list(fpn.IN_FEATURES)} must be among MODEL.RESNETS.OUT_FEATURES {list(shapes)}"
        )
    strides = [shapes[name].stride or 1 for name in fpn.IN_FEATURES]
    if any(upper != 2 * lower for lower, upper in pairwise(strides)):
        raise ConfigError(f"MODEL.FPN.IN_FEATURES: strides {strides} must double from level to level")
    return FPN(bottom_up, list(fpn.IN_FEATURES), fpn.OUT_CHANNELS, fpn.NORM, fpn.FUSE_TYPE, top_block)
