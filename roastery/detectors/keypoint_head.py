"""The keypoint branch: a heatmap for each keypoint of each detection."""

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.convolution import Convolution
from roastery.detectors.known import require_known

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

    def forward(self, x: Tensor) -> Tensor:
        for name in self.layer_names:
            x = self.get_submodule(name)(x)
        return F.interpolate(self.score_lowres(x), scale_factor=UP_SCALE, mode="bilinear", align_corners=False)


def build_keypoint_head(config: CfgNode, channels: int) -> KRCNNConvDeconvUpsampleHead:
    """The keypoint head that `config.MODEL.ROI_KEYPOINT_HEAD` describes, without weights.

    Raises:
        ConfigError: another head.
    """
    head = config.MODEL.ROI_KEYPOINT_HEAD
    require_known("MODEL.ROI_KEYPOINT_HEAD.NAME", head.NAME, ("KRCNNConvDeconvUpsampleHead",))
    return KRCNNConvDeconvUpsampleHead(channels, head.NUM_KEYPOINTS, list(head.CONV_DIMS))
