"""What every backbone is, ours and a user's: detectron2's interface."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from roastery.errors import ConfigError


@dataclass(frozen=True)
class ShapeSpec:
    """What is known of a feature map, or of what a head takes: detectron2's class of this name.

    Attributes:
        channels: C.
        height, width: of a pooled map, in cells.
        stride: of a map relative to the image, in pixels.
    """

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None


class Backbone(nn.Module):
    """From normalised images (N, 3, H, W) to feature maps by name, {name: (N, C, H / stride, W / stride)}.

    As in detectron2, a backbone says of itself what it gives: by `output_shape`, or by the three attributes that its
    default reads, `_out_features`, `_out_feature_channels` and `_out_feature_strides`.
    """

    _out_features: Sequence[str]
    _out_feature_channels: Mapping[str, int]
    _out_feature_strides: Mapping[str, int]

    @property
    def size_divisibility(self) -> int:
        """What H and W must be multiples of; 0 where any size will do."""
        return 0

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each map by name, the finest first."""
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in self._out_features
        }


def levels(shapes: Mapping[str, Any], names: Sequence[str], key: str) -> tuple[int, list[int]]:
    """Channels, the same for all, and strides of the maps that a head takes.

    Args:
        shapes: a backbone's `output_shape()`.
        key: the config key that names them, for the error.

    Raises:
        ConfigError: a map that this backbone does not give, none at all, or maps of unequal channels.
    """
    if not names or any(name not in shapes for name in names):
        raise ConfigError(f"{key}: {list(names)} must be among {sorted(shapes)}")
    channels = {shapes[name].channels for name in names}
    if len(channels) > 1:
        raise ConfigError(f"{key}: {list(names)} have {sorted(channels)} channels; a head takes maps of one number")
    return channels.pop(), [shapes[name].stride for name in names]
