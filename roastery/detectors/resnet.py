"""ResNet backbones, with detectron2's module names.

Source: He et al., Deep Residual Learning (arXiv:1512.03385); the layout of strides and names follows detectron2 0.5.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.convolution import Convolution, build_norm
from roastery.errors import ConfigError

BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
STAGES = ("res2", "res3", "res4", "res5")
STEM_STRIDE = 4


class BasicStem(nn.Module):
    """7x7 convolution of stride 2 and 3x3 max pooling of stride 2: (N, 3, H, W) to (N, C, H/4, W/4)."""

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__()
        self.conv1 = Convolution(
            in_channels, out_channels, 7, stride=2, padding=3, bias=False, norm=_norm(norm, out_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (R-18, R-34)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: str) -> None:
        super().__init__()
        self.shortcut = _shortcut(in_channels, out_channels, stride, norm)
        self.conv1 = Convolution(
            in_channels, out_channels, 3, stride=stride, padding=1, bias=False, norm=_norm(norm, out_channels)
        )
        self.conv2 = Convolution(out_channels, out_channels, 3, padding=1, bias=False, norm=_norm(norm, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(F.relu(self.conv1(x)))
        return F.relu(out + (x if self.shortcut is None else self.shortcut(x)))


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut (R-50 and deeper, ResNeXt by `groups`)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bottleneck_channels: int,
        stride: int,
        norm: str,
        groups: int,
        stride_in_1x1: bool,
        dilation: int,
    ) -> None:
        super().__init__()
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        width = bottleneck_channels
        self.shortcut = _shortcut(in_channels, out_channels, stride, norm)
        self.conv1 = Convolution(in_channels, width, 1, stride=stride_1x1, bias=False, norm=_norm(norm, width))
        self.conv2 = Convolution(
            width,
            width,
            3,
            stride=stride_3x3,
            padding=dilation,
            dilation=dilation,
            groups=groups,
            bias=False,
            norm=_norm(norm, width),
        )
        self.conv3 = Convolution(width, out_channels, 1, bias=False, norm=_norm(norm, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(out + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    """A stem and the stages res2 to the last one that is asked for.

    `forward` takes (N, 3, H, W) and gives {name: (N, C, H / stride, W / stride)} for `out_features`.
    """

    def __init__(self, stem: BasicStem, stages: dict[str, list[nn.Module]], out_features: list[str]) -> None:
        super().__init__()
        self.stem = stem
        self.stage_names = list(stages)
        self.out_features = out_features
        for name, blocks in stages.items():
            self.add_module(name, nn.Sequential(*blocks))
        self.channels: dict[str, int] = {}
        self.strides: dict[str, int] = {}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = {}
        x = self.stem(x)
        for name in self.stage_names:
            x = self.get_submodule(name)(x)
            if name in self.out_features:
                features[name] = x
        return features


def build_resnet(config: CfgNode) -> ResNet:
    """The ResNet that `config.MODEL.RESNETS` describes, without weights.

    Raises:
        ConfigError: a depth that is not known, or deformable convolution, which Caffe2 has no CPU kernel for.
    """
    resnets = config.MODEL.RESNETS
    depth = resnets.DEPTH
    if depth not in BLOCKS_PER_STAGE:
        raise ConfigError(f"MODEL.RESNETS.DEPTH: {depth} is none of {sorted(BLOCKS_PER_STAGE)}")
    if any(resnets.DEFORM_ON_PER_STAGE):
        raise ConfigError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE: Caffe2 has no CPU kernel for deformable convolution (DeformConv); "
            "train the model without it"
        )
    out_features = list(resnets.OUT_FEATURES)
    unknown = set(out_features) - set(STAGES)
    if unknown or not out_features:
        raise ConfigError(f"MODEL.RESNETS.OUT_FEATURES: {out_features} must be some of {list(STAGES)}")
    in_channels, out_channels = resnets.STEM_OUT_CHANNELS, resnets.RES2_OUT_CHANNELS
    width = resnets.NUM_GROUPS * resnets.WIDTH_PER_GROUP
    last = max(STAGES.index(name) for name in out_features)
    stages: dict[str, list[nn.Module]] = {}
    stem = BasicStem(len(config.MODEL.PIXEL_MEAN), in_channels, resnets.NORM)
    resnet_channels, resnet_strides, stride = {}, {}, STEM_STRIDE
    for index, name in enumerate(STAGES[: last + 1]):
        dilation = resnets.RES5_DILATION if name == "res5" else 1
        first_stride = 1 if index == 0 or dilation == 2 else 2
        blocks: list[nn.Module] = []
        for block in range(BLOCKS_PER_STAGE[depth][index]):
            block_stride = first_stride if block == 0 else 1
            if depth in (18, 34):
                blocks.append(BasicBlock(in_channels, out_channels, block_stride, resnets.NORM))
            else:
                blocks.append(
                    BottleneckBlock(
                        in_channels,
                        out_channels,
                        width,
                        block_stride,
                        resnets.NORM,
                        resnets.NUM_GROUPS,
                        resnets.STRIDE_IN_1X1,
                        dilation,
                    )
                )
            in_channels = out_channels
        stages[name] = blocks
        stride *= first_stride
        resnet_channels[name], resnet_strides[name] = out_channels, stride
        out_channels, width = out_channels * 2, width * 2
    resnet = ResNet(stem, stages, out_features)
    resnet.channels, resnet.strides = resnet_channels, resnet_strides
    return resnet


def _norm(name: str, channels: int) -> nn.Module | None:
    return build_norm(name, channels, "MODEL.RESNETS.NORM")


def _shortcut(in_channels: int, out_channels: int, stride: int, norm: str) -> Convolution | None:
    if in_channels == out_channels:
        return None
    return Convolution(in_channels, out_channels, 1, stride=stride, bias=False, norm=_norm(norm, out_channels))
