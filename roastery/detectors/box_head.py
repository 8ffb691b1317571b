"""The box branch: features of each RoI, then class logits and box deltas."""

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.backbone import ShapeSpec
from roastery.detectors.convolution import Convolution, build_norm
from roastery.detectors.pooled_head import build_pooled_head
from roastery.detectors.registries import ROI_BOX_HEAD_REGISTRY
from roastery.errors import ConfigError


class FastRCNNConvFCHead(nn.Sequential):
    """Convolutions, then fully connected layers, each with ReLU: (n, C, S, S) to (n, `out_channels`)."""

    def __init__(self, channels: int, size: int, conv_dims: list[int], fc_dims: list[int], norm: str) -> None:
        super().__init__()
        for index, dim in enumerate(conv_dims, start=1):
            key = "MODEL.ROI_BOX_HEAD.NORM"
            layer = Convolution(
                channels, dim, 3, padding=1, bias=norm == "", norm=build_norm(norm, dim, key), activation=F.relu
            )
            self.add_module(f"conv{index}", layer)
            channels = dim
        features = channels * size * size
        for index, dim in enumerate(fc_dims, start=1):
            if index == 1:
                self.add_module("flatten", nn.Flatten())
            self.add_module(f"fc{index}", nn.Linear(features, dim))
            self.add_module(f"fc_relu{index}", nn.ReLU())
            features = dim
        self.out_channels = features

    @property
    def output_shape(self) -> ShapeSpec:
        """Of what it gives of each RoI."""
        return ShapeSpec(channels=self.out_channels)


class FastRCNNOutputLayers(nn.Module):
    """Class logits (n, classes + 1), background last, and box deltas (n, 4 * classes) or (n, 4)."""

    def __init__(self, in_features: int, classes: int, class_agnostic: bool) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_features, classes + 1)
        self.bbox_pred = nn.Linear(in_features, 4 * (1 if class_agnostic else classes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.dim() > 2:
            x = x.flatten(1)
        return self.cls_score(x), self.bbox_pred(x)


def build_box_branch(config: CfgNode, channels: int, class_agnostic: bool) -> tuple[nn.Module, FastRCNNOutputLayers]:
    """The box head that `config.MODEL.ROI_BOX_HEAD` names, over pooled maps of these channels, and its predictor.

    Raises:
        ConfigError: there is no such head, or it cannot be built.
    """
    head = build_pooled_head(ROI_BOX_HEAD_REGISTRY, config, "ROI_BOX_HEAD", channels, usual="FastRCNNConvFCHead")
    shape = head.output_shape
    features = shape.channels * (shape.height or 1) * (shape.width or 1)
    return head, FastRCNNOutputLayers(features, config.MODEL.ROI_HEADS.NUM_CLASSES, class_agnostic)


@ROI_BOX_HEAD_REGISTRY.register_as("FastRCNNConvFCHead")
def build_box_head(config: CfgNode, input_shape: ShapeSpec) -> FastRCNNConvFCHead:
    """The box head that detectron2 calls `FastRCNNConvFCHead`, without weights.

    Raises:
        ConfigError: a head without a layer.
    """
    head = config.MODEL.ROI_BOX_HEAD
    if head.NUM_CONV + head.NUM_FC == 0:
        raise ConfigError("MODEL.ROI_BOX_HEAD: NUM_CONV and NUM_FC are both 0; give the head a layer")
    return FastRCNNConvFCHead(
        input_shape.channels or 0,
        input_shape.height or 1,
        [head.CONV_DIM] * head.NUM_CONV,
        [head.FC_DIM] * head.NUM_FC,
        head.NORM,
    )
