"""The same backbone for a live detectron2 (`source: detectron2`): the imports differ, and nothing else.

    roastery convert --config-file examples/custom_backbone/config.yaml --output out --source detectron2 \\
        --custom-module examples.custom_backbone.toy_backbone_detectron2 MODEL.WEIGHTS model_final.pth
"""

from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor

from examples.custom_backbone.toy_layers import STRIDES, ToyPyramid


@BACKBONE_REGISTRY.register()
class ToyBackbone(Backbone):  # type: ignore[misc]
    """What a detectron2 project registers."""

    def __init__(self, cfg: Any, input_shape: ShapeSpec) -> None:
        super().__init__()
        channels = cfg.MODEL.TOY.CHANNELS if "TOY" in cfg.MODEL else 32
        self.pyramid = ToyPyramid(input_shape.channels, channels)
        self._out_features = list(STRIDES)
        self._out_feature_strides = STRIDES
        self._out_feature_channels = dict.fromkeys(STRIDES, channels)

    @property
    def size_divisibility(self) -> int:
        return 32

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.pyramid(x)
        return maps
