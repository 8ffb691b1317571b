"""The keypoint branch: a heatmap for each keypoint of each detection."""

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.backbone import ShapeSpec
from roastery.detectors.convolution import Convolution
from roastery.detectors.pooled_head import build_pooled_head
from roastery.detectors.registries import ROI_KEYPOINT_HEAD_REGISTRY

UP_SCALE = 2.0


class KRCNNConvDeconvUpsampleHead(nn.Module):
    """Convolutions, a deconvolution of stride 2, and bilinear upsampling: (n, C, S, S) to logits (n, K, 4S, 4S).

    Source: detectron2 0.5, modeling/roi_heads/keypoint_head.py, for the layout and names.
    """

    def __init__(self, channels: int, keypoints: int, conv_dims: list[int]) -> None:
        super().__init__()
        self.layer_names = [f"conv_fcn{index}" for index in range(1, len(conv_dims) + 1)]
        for name, dim in zip(self.layer_names, conv_dims, strict=True):
            self.add_module(name, Convolution(channels, dim, 3, padding=1, activation=F.relu))
            channels = dim
        self.score_lowres = nn.ConvTranspose2d(channels, keypoints, kernel_size=4, stride=2, padding=1)

    def layers(self, x: Tensor) -> Tensor:
        """Logits of pooled maps. detectron2's heads do more in `forward`, which a net does by itself."""
        for name in self.layer_names:
            x = self.get_submodule(name)(x)
        return F.interpolate(self.score_lowres(x), scale_factor=UP_SCALE, mode="bilinear", align_corners=False)


def build_keypoint_head(config: CfgNode, channels: int) -> nn.Module:
    """The keypoint head that `config.MODEL.ROI_KEYPOINT_HEAD` names, for pooled maps of these channels, unweighted.

    Raises:
        ConfigError: there is no such head, or it cannot be built.
    """
    built: nn.Module = build_pooled_head(ROI_KEYPOINT_HEAD_REGISTRY, config, "ROI_KEYPOINT_HEAD", channels)
    return built


@ROI_KEYPOINT_HEAD_REGISTRY.register_as("KRCNNConvDeconvUpsampleHead")
def build_convolutional_keypoint_head(config: CfgNode, input_shape: ShapeSpec) -> KRCNNConvDeconvUpsampleHead:
    """The keypoint head that detectron2 calls `KRCNNConvDeconvUpsampleHead`, without weights."""
    head = config.MODEL.ROI_KEYPOINT_HEAD
    return KRCNNConvDeconvUpsampleHead(input_shape.channels or 0, head.NUM_KEYPOINTS, list(head.CONV_DIMS))
