"""The backbone for Roastery's own parts (`source: native`): registered by a decorator, named in the config.

    roastery convert --config-file examples/custom_backbone/config.yaml --output out \\
        --custom-module examples.custom_backbone.toy_backbone MODEL.WEIGHTS model_final.pth
"""

from torch import Tensor
from yacs.config import CfgNode

from examples.custom_backbone.toy_layers import STRIDES, ToyPyramid
from roastery.detectors.backbone import Backbone, ShapeSpec
from roastery.detectors.registries import BACKBONE_REGISTRY


def add_toy_config(cfg: CfgNode) -> None:
    """The backbone's own keys, with their defaults (`--custom-module examples...toy_backbone:add_toy_config`)."""
    cfg.MODEL.TOY = CfgNode({"CHANNELS": 32})


@BACKBONE_REGISTRY.register()
class ToyBackbone(Backbone):
    """What detectron2's own backbones are: maps by name, and what is said of them."""

    def __init__(self, cfg: CfgNode, input_shape: ShapeSpec) -> None:
        super().__init__()
        channels = cfg.MODEL.TOY.CHANNELS if "TOY" in cfg.MODEL else 32
        self.pyramid = ToyPyramid(input_shape.channels or 3, channels)
        self._out_features = list(STRIDES)
        self._out_feature_strides = STRIDES
        self._out_feature_channels = dict.fromkeys(STRIDES, channels)

    @property
    def size_divisibility(self) -> int:
        return 32

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.pyramid(x)
        return maps
