"""The semantic branch: a class for every pixel, from all feature levels."""

import math

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.backbone import Backbone
from roastery.detectors.convolution import Convolution, build_norm
from roastery.detectors.known import require_known
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

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Features by name to logits (N, classes, H, W), of the image's size."""
        first, *others = self.in_features
        x = self.get_submodule(first)(features[first])
        for name in others:
            x = x + self.get_submodule(name)(features[name])
        return F.interpolate(
            self.predictor(x), scale_factor=float(self.common_stride), mode="bilinear", align_corners=False
        )


def build_semantic_head(config: CfgNode, backbone: Backbone) -> SemSegFPNHead:
    """The semantic head that `config.MODEL.SEM_SEG_HEAD` describes, without weights.

    Raises:
        ConfigError: another head, or levels that it cannot bring together.
    """
    head = config.MODEL.SEM_SEG_HEAD
    require_known("MODEL.SEM_SEG_HEAD.NAME", head.NAME, ("SemSegFPNHead",))
    # In the backbone's order, the finest first, whatever the config's is.
    names = sorted(head.IN_FEATURES, key=lambda name: backbone.strides.get(name, 0))
    channels, strides = backbone.levels(names, "MODEL.SEM_SEG_HEAD.IN_FEATURES")
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
