"""A convolution with its normalisation and activation, under detectron2's names."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roastery.errors import ConfigError


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation by fixed statistics; weight and bias are buffers, as detectron2 saves them."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.weight: Tensor
        self.bias: Tensor
        self.running_mean: Tensor
        self.running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, eps=self.eps)


# At inference all are the same: they differ in whose statistics they gather.
_BATCH_NORMS = ("BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N")


def build_norm(name: str, channels: int, key: str) -> nn.Module | None:
    """The normalisation that detectron2 calls `name`; None for "".

    Args:
        key: the config key that asked for it, for the error.

    Raises:
        ConfigError: a normalisation without a deployable form.
    """
    if name == "":
        return None
    if name in _BATCH_NORMS:
        return nn.BatchNorm2d(channels)
    if name == "FrozenBN":
        return FrozenBatchNorm2d(channels)
    if name == "GN":
        return nn.GroupNorm(32, channels)
    raise ConfigError(f"{key}: normalisation {name!r} has no Caffe2 form here; use BN, SyncBN, FrozenBN, GN or ''")


class Convolution(nn.Conv2d):
    """A 2d convolution that owns its norm (state-dict key `norm`) and its activation."""

    def __init__(
        self, *args: Any, norm: nn.Module | None = None, activation: Callable[[Tensor], Tensor] | None = None, **kw: Any
    ) -> None:
        super().__init__(*args, **kw)
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        if self.norm is not None:
            x = self.norm(x)
        if self.activation is not None:
            x = self.activation(x)
        return x
