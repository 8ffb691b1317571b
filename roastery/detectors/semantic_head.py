"""The semantic branch: a class for every pixel, from all feature levels."""

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.backbone import ShapeSpec, levels
from roastery.detectors.convolution import Convolution, build_norm
from roastery.detectors.registries import SEM_SEG_HEADS_REGISTRY
from roastery.errors import ConfigError


class SemSegFPNHead(nn.Module):
    """Each level brought to the common stride by convolutions and bilinear upsampling; their sum, classified.

    Source: Kirillov et al., Panoptic Feature Pyramid Networks (arXiv:1901.02446); names follow detectron2 0.5.
    """

    def __init__(
        self, channels: int, strides: dict[str, int], classes: int, dim: int, common_stride: int, norm: str
    ) -> None:
        """Build it for features of these channels, and of a stride by name, in their order."""
        super().__init__()
        self.in_features = list(strides)
        self.common_stride = common_stride
        for name, stride in strides.items():
            layers: list[nn.Module] = []
            for index in range(max(1, int(math.log2(stride / common_stride)))):
                layers.append(
                    Convolution(
                        channels if index == 0 else dim,
                        dim,
                        3,
                        padding=1,
                        bias=norm == "",
                        norm=build_norm(norm, dim, "MODEL.SEM_SEG_HEAD.NORM"),
                        activation=F.relu,
                    )
                )
                if stride != common_stride:
                    layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
            self.add_module(name, nn.Sequential(*layers))
        self.predictor = nn.Conv2d(dim, classes, 1)

    def forward(self, features: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Features by name to logits (N, classes, H, W), of the image's size, and losses, of which there are none."""
        first, *others = self.in_features
        x = self.get_submodule(first)(features[first])
        for name in others:
            x = x + self.get_submodule(name)(features[name])
        scale = float(self.common_stride)
        return F.interpolate(self.predictor(x), scale_factor=scale, mode="bilinear", align_corners=False), {}


def build_semantic_head(config: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> nn.Module:
    """The semantic head that `config.MODEL.SEM_SEG_HEAD` names, over maps of these shapes, without weights.

    Raises:
        ConfigError: there is no such head, or it cannot be built.
    """
    build = SEM_SEG_HEADS_REGISTRY.look_up("MODEL.SEM_SEG_HEAD.NAME", config.MODEL.SEM_SEG_HEAD.NAME)
    built: nn.Module = build(config, input_shape)
    return built


@SEM_SEG_HEADS_REGISTRY.register_as("SemSegFPNHead")
def build_sem_seg_fpn_head(config: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> SemSegFPNHead:
    """The semantic head that detectron2 calls `SemSegFPNHead`, without weights.

    Raises:
        ConfigError: levels that it cannot bring together.
    """
    head = config.MODEL.SEM_SEG_HEAD
    # In the backbone's order, the finest first, whatever the config's is.
    names = sorted(head.IN_FEATURES, key=lambda name: getattr(input_shape.get(name), "stride", 0))
    channels, strides = levels(input_shape, names, "MODEL.SEM_SEG_HEAD.IN_FEATURES")
    common: int = head.COMMON_STRIDE
    for name, stride in zip(names, strides, strict=True):
        factor = stride / common if common > 0 else 0.0
        if factor < 1 or not math.log2(factor).is_integer():
            raise ConfigError(
                f"MODEL.SEM_SEG_HEAD.COMMON_STRIDE: {common} does not divide the stride {stride} of {name} "
                "by a power of two; use the stride of the finest level"
            )
    return SemSegFPNHead(
        channels, dict(zip(names, strides, strict=True)), head.NUM_CLASSES, head.CONVS_DIM, common, head.NORM
    )
