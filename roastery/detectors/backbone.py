"""What every backbone says of the feature maps that it gives."""

from collections.abc import Sequence

from torch import nn

from roastery.errors import ConfigError


class Backbone(nn.Module):
    """From normalised images (N, 3, H, W) to feature maps by name, {name: (N, C, H / stride, W / stride)}.

    Attributes:
        channels: C of each map, by name, the finest first.
        strides: of each map, in pixels.
        size_divisibility: what H and W must be multiples of; 0 where any size will do.
    """

    def __init__(self, channels: dict[str, int], strides: dict[str, int], size_divisibility: int) -> None:
        super().__init__()
        self.channels = channels
        self.strides = strides
        self.size_divisibility = size_divisibility

    def levels(self, names: Sequence[str], key: str) -> tuple[int, list[int]]:
        """Channels, the same for all, and strides of the maps that a head takes.

        Args:
            key: the config key that names them, for the error.

        Raises:
            ConfigError: a map that this backbone does not give, none at all, or maps of unequal channels.
        """
        if not names or any(name not in self.strides for name in names):
            raise ConfigError(f"{key}: {list(names)} must be among {sorted(self.strides)}")
        channels = {self.channels[name] for name in names}
        if len(channels) > 1:
            raise ConfigError(f"{key}: {list(names)} have {sorted(channels)} channels; a head takes maps of one number")
        return channels.pop(), [self.strides[name] for name in names]
