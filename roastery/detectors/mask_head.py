"""The mask branch: a map for each class of each detection."""

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.backbone import ShapeSpec
from roastery.detectors.convolution import Convolution, build_norm
from roastery.detectors.pooled_head import build_pooled_head
from roastery.detectors.registries import ROI_MASK_HEAD_REGISTRY


class MaskRCNNConvUpsampleHead(nn.Module):
    """Convolutions, a deconvolution of stride 2 and a 1x1 predictor: (n, C, S, S) to logits (n, classes, 2S, 2S)."""

    def __init__(self, channels: int, classes: int, conv_dims: list[int], deconv_dim: int, norm: str) -> None:
        super().__init__()
        key = "MODEL.ROI_MASK_HEAD.NORM"
        self.layer_names = [f"mask_fcn{index}" for index in range(1, len(conv_dims) + 1)]
        for name, dim in zip(self.layer_names, conv_dims, strict=True):
            layer = Convolution(
                channels, dim, 3, padding=1, bias=norm == "", norm=build_norm(norm, dim, key), activation=F.relu
            )
            self.add_module(name, layer)
            channels = dim
        self.deconv = nn.ConvTranspose2d(channels, deconv_dim, kernel_size=2, stride=2)
        self.predictor = nn.Conv2d(deconv_dim, classes, 1)

    def layers(self, x: Tensor) -> Tensor:
        """Logits of pooled maps. detectron2's heads do more in `forward`, which a net does by itself."""
        for name in self.layer_names:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.predictor(F.relu(self.deconv(x)))
        return logits


def build_mask_head(config: CfgNode, channels: int) -> nn.Module:
    """The mask head that `config.MODEL.ROI_MASK_HEAD` names, over pooled maps of these channels, without weights.

    Raises:
        ConfigError: there is no such head, or it cannot be built.
    """
    built: nn.Module = build_pooled_head(ROI_MASK_HEAD_REGISTRY, config, "ROI_MASK_HEAD", channels)
    return built


@ROI_MASK_HEAD_REGISTRY.register_as("MaskRCNNConvUpsampleHead")
def build_convolutional_mask_head(config: CfgNode, input_shape: ShapeSpec) -> MaskRCNNConvUpsampleHead:
    """The mask head that detectron2 calls `MaskRCNNConvUpsampleHead`, without weights."""
    head = config.MODEL.ROI_MASK_HEAD
    classes = 1 if head.CLS_AGNOSTIC_MASK else config.MODEL.ROI_HEADS.NUM_CLASSES
    return MaskRCNNConvUpsampleHead(
        input_shape.channels or 0, classes, [head.CONV_DIM] * head.NUM_CONV, head.CONV_DIM, head.NORM
    )
