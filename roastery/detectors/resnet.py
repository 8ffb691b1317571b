"""ResNet backbones, with detectron2's module names.

Source: He et al., Deep Residual Learning (arXiv:1512.03385); the layout of strides and names follows detectron2 0.5.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.backbone import Backbone, ShapeSpec
from roastery.detectors.convolution import Convolution, build_norm
from roastery.detectors.registries import BACKBONE_REGISTRY
from roastery.errors import ConfigError

BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BASIC_DEPTHS = (18, 34)
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


class ResNet(Backbone):
    """A stem and the stages res2 to the last one that is asked for.

    `forward` takes (N, 3, H, W) and gives {name: (N, C, H / stride, W / stride)} for `out_features`.
    """

    def __init__(
        self, stem: BasicStem, stages: dict[str, nn.Sequential], channels: dict[str, int], strides: dict[str, int]
    ) -> None:
        """Build it of stages; those that `channels` and `strides` name are given."""
        super().__init__()
        self._out_features = list(strides)
        self._out_feature_channels = channels
        self._out_feature_strides = strides
        self.stem = stem
        self.stage_names = list(stages)
        for name, blocks in stages.items():
            self.add_module(name, blocks)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = {}
        x = self.stem(x)
        for name in self.stage_names:
            x = self.get_submodule(name)(x)
            if name in self._out_features:
                features[name] = x
        return features


@BACKBONE_REGISTRY.register_as("build_resnet_backbone")
def build_resnet(config: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """The ResNet that `config.MODEL.RESNETS` describes, without weights.

    Raises:
        ConfigError: a depth that is not known, or deformable convolution, which Caffe2 has no CPU kernel for.
    """
    resnets = config.MODEL.RESNETS
    depth = resnets.DEPTH
    if depth not in BLOCKS_PER_STAGE:
        raise ConfigError(f"MODEL.RESNETS.DEPTH: {depth} is none of {sorted(BLOCKS_PER_STAGE)}")
    refuse_deformable(config)
    if resnets.RES5_DILATION not in (1, 2):
        raise ConfigError(f"MODEL.RESNETS.RES5_DILATION: {resnets.RES5_DILATION} is neither 1 nor 2")
    if depth in BASIC_DEPTHS and (resnets.RES5_DILATION, resnets.NUM_GROUPS) != (1, 1):
        raise ConfigError(f"MODEL.RESNETS: an R-{depth} has neither NUM_GROUPS nor RES5_DILATION; set both to 1")
    wanted = list(resnets.OUT_FEATURES)
    if not wanted or set(wanted) - set(STAGES):
        raise ConfigError(f"MODEL.RESNETS.OUT_FEATURES: {wanted} must be some of {list(STAGES)}")
    stem = BasicStem(input_shape.channels or 3, resnets.STEM_OUT_CHANNELS, resnets.NORM)
    stages: dict[str, nn.Sequential] = {}
    channels: dict[str, int] = {}
    strides: dict[str, int] = {}
    stride = STEM_STRIDE
    for index, name in enumerate(STAGES[: max(STAGES.index(name) for name in wanted) + 1]):
        dilation = resnets.RES5_DILATION if name == "res5" else 1
        first_stride = 1 if index == 0 or dilation == 2 else 2
        before = resnets.RES2_OUT_CHANNELS * 2 ** (index - 1) if index else resnets.STEM_OUT_CHANNELS
        stages[name] = build_stage(config, index, before, BLOCKS_PER_STAGE[depth][index], first_stride, dilation)
        stride *= first_stride
        if name in wanted:
            channels[name], strides[name] = resnets.RES2_OUT_CHANNELS * 2**index, stride
    return ResNet(stem, stages, channels, strides)


def build_stage(
    config: CfgNode, index: int, in_channels: int, count: int, first_stride: int, dilation: int = 1
) -> nn.Sequential:
    """A stage of `config.MODEL.RESNETS`: 0 is res2, 3 is res5. Its first block has the stride."""
    resnets = config.MODEL.RESNETS
    out_channels = resnets.RES2_OUT_CHANNELS * 2**index
    width = resnets.NUM_GROUPS * resnets.WIDTH_PER_GROUP * 2**index
    blocks: list[nn.Module] = []
    for block in range(count):
        before, stride = (out_channels, 1) if block else (in_channels, first_stride)
        if resnets.DEPTH in BASIC_DEPTHS:
            blocks.append(BasicBlock(before, out_channels, stride, resnets.NORM))
        else:
            one_by_one = resnets.STRIDE_IN_1X1
            groups = resnets.NUM_GROUPS
            blocks.append(
                BottleneckBlock(before, out_channels, width, stride, resnets.NORM, groups, one_by_one, dilation)
            )
    return nn.Sequential(*blocks)


def refuse_deformable(config: CfgNode) -> None:
    """Raise ConfigError where a stage has deformable convolution, which Caffe2 has no CPU kernel for."""
    if any(config.MODEL.RESNETS.DEFORM_ON_PER_STAGE):
        raise ConfigError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE: Caffe2 has no CPU kernel for deformable convolution (DeformConv); "
            "train the model without it"
        )


def _norm(name: str, channels: int) -> nn.Module | None:
    return build_norm(name, channels, "MODEL.RESNETS.NORM")


def _shortcut(in_channels: int, out_channels: int, stride: int, norm: str) -> Convolution | None:
    if in_channels == out_channels:
        return None
    return Convolution(in_channels, out_channels, 1, stride=stride, bias=False, norm=_norm(norm, out_channels))
