"""Feature pyramid over a ResNet, with detectron2's module names.

Source: Lin et al., Feature Pyramid Networks (arXiv:1612.03144); names and fusing follow detectron2 0.5.
"""

import math
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.convolution import Convolution, build_norm
from roastery.detectors.resnet import ResNet, build_resnet
from roastery.errors import ConfigError


class FPN(nn.Module):
    """p2 to p5 from res2 to res5 (as `in_features` says), and p6 by pooling p5.

    `forward` takes normalised images (N, 3, H, W), H and W multiples of `size_divisibility`, and gives
    {"p2": (N, C, H/4, W/4), ...}. `channels` is C, `strides` the stride of each level.
    """

    def __init__(self, bottom_up: ResNet, in_features: list[str], channels: int, norm: str, fuse: str) -> None:
        super().__init__()
        self.bottom_up = bottom_up
        self.in_features = in_features
        self.channels = channels
        self.fuse = fuse
        self.levels = [int(math.log2(bottom_up.strides[name])) for name in in_features]
        self.strides = {f"p{level}": 2**level for level in [*self.levels, self.levels[-1] + 1]}
        self.size_divisibility = bottom_up.strides[in_features[-1]]
        for name, level in zip(in_features, self.levels, strict=True):
            bias = norm == ""
            key = "MODEL.FPN.NORM"
            lateral = Convolution(
                bottom_up.channels[name], channels, 1, bias=bias, norm=build_norm(norm, channels, key)
            )
            output = Convolution(channels, channels, 3, padding=1, bias=bias, norm=build_norm(norm, channels, key))
            self.add_module(f"fpn_lateral{level}", lateral)
            self.add_module(f"fpn_output{level}", output)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        bottom_up = self.bottom_up(x)
        outputs: dict[str, Tensor] = {}
        merged: Tensor | None = None
        for name, level in reversed(list(zip(self.in_features, self.levels, strict=True))):
            lateral = self.get_submodule(f"fpn_lateral{level}")(bottom_up[name])
            if merged is None:
                merged = lateral
            else:
                merged = lateral + F.interpolate(merged, scale_factor=2.0, mode="nearest")
                if self.fuse == "avg":
                    merged = merged / 2
            outputs[f"p{level}"] = self.get_submodule(f"fpn_output{level}")(merged)
        last = self.levels[-1]
        outputs[f"p{last + 1}"] = F.max_pool2d(outputs[f"p{last}"], kernel_size=1, stride=2, padding=0)
        return {f"p{level}": outputs[f"p{level}"] for level in [*self.levels, last + 1]}


def build_resnet_fpn(config: CfgNode) -> FPN:
    """The backbone that detectron2 calls `build_resnet_fpn_backbone`, without weights."""
    fpn = config.MODEL.FPN
    if fpn.FUSE_TYPE not in ("sum", "avg"):
        raise ConfigError(f"MODEL.FPN.FUSE_TYPE: {fpn.FUSE_TYPE!r} is neither 'sum' nor 'avg'")
    bottom_up = build_resnet(config)
    missing = [name for name in fpn.IN_FEATURES if name not in bottom_up.out_features]
    if missing or not fpn.IN_FEATURES:
        raise ConfigError(
            f"MODEL.FPN.IN_FEATURES: {list(fpn.IN_FEATURES)} must be among MODEL.RESNETS.OUT_FEATURES "
            f"{bottom_up.out_features}"
        )
    strides = [bottom_up.strides[name] for name in fpn.IN_FEATURES]
    if any(upper != 2 * lower for lower, upper in pairwise(strides)):
        raise ConfigError(f"MODEL.FPN.IN_FEATURES: strides {strides} must double from level to level")
    return FPN(bottom_up, list(fpn.IN_FEATURES), fpn.OUT_CHANNELS, fpn.NORM, fpn.FUSE_TYPE)
