"""A small backbone's layers: plain PyTorch, the same whoever builds the detector."""

import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = {"p3": 8, "p4": 16, "p5": 32}


class Gate(nn.Module):
    """Squeeze and excitation: each channel weighed by what the whole map holds."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, channels // 4, 1)
        self.excite = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.excite(F.leaky_relu(self.squeeze(self.pool(x)), 0.1)))


class Block(nn.Module):
    """A depthwise convolution of stride 2 and a pointwise one, normalised, SiLU, gated."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.gate = Gate(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(F.silu(self.norm(self.pointwise(self.depthwise(x)))))


class ToyPyramid(nn.Module):
    """Images (N, 3, H, W) to p3, p4 and p5, each of `channels`, at strides of 8, 16 and 32."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(Block(in_channels, 16), Block(16, 32))
        self.stages = nn.ModuleList([Block(32, 48), Block(48, 64), Block(64, 96)])
        self.laterals = nn.ModuleList([nn.Conv2d(width, channels, 1) for width in (48, 64, 96)])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        p5 = self.laterals[2](maps[2])
        p4 = self.laterals[1](maps[1]) + F.interpolate(p5, scale_factor=2, mode="nearest")
        p3 = self.laterals[0](maps[0]) + F.interpolate(p4, scale_factor=2, mode="nearest")
        return {"p3": p3, "p4": p4, "p5": p5}
