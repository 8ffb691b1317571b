"""Modules of users that move numbers, pool and scale: each gives in both runtimes what PyTorch gives, at every size.

Many operators are traced in one module, for an export takes a second: each is an output of its own, by its name.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.convert import convert
from roastery.caffe2.nets import Nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.errors import UnsupportedOperator
from roastery.export.onnx import export_onnx
from roastery.export.trace import Traced

RUNTIMES = [TorchRuntime, pytest.param(Caffe2Runtime, marks=pytest.mark.caffe2)]
Runtime = type[TorchRuntime] | type[Caffe2Runtime]
Part = Callable[[Tensor], Tensor]
MAP_SIZES = [(16, 24), (32, 16), (24, 56), (72, 16)]
"""Height and width; the first is the traced one."""
ROI_COUNTS = [5, 0, 1, 3]


class Several(nn.Module):
    """Parts that all read the same map, or half of it; each gives an output."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        super().__init__()
        self.functions = dict(parts)
        self.modules_of_parts = nn.ModuleList(part for part in parts.values() if isinstance(part, nn.Module))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(part(x) for part in self.functions.values())


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build()


class Pyramid(nn.Module):
    """Two levels by strided convolutions, and the coarser one on the finer one's size."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.fine = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.coarse = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        return fine + F.interpolate(self.coarse(fine), size=fine.shape[-2:], **self.options)


def _shuffle(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def _unshuffle(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, c * 4, h // 2, w // 2)


def _attention_back(x: Tensor) -> Tensor:
    half = F.max_pool2d(x, 2)
    n, c, h, w = half.shape
    return half.flatten(2).transpose(1, 2).transpose(1, 2).reshape(n, c, h, w)


POOLING: dict[str, Part] = {
    "mean of the map": nn.AdaptiveAvgPool2d(1),
    "largest of the map": nn.AdaptiveMaxPool2d(1),
    "mean of rows": nn.AdaptiveAvgPool2d((None, 1)),
    "mean of columns": nn.AdaptiveAvgPool2d((1, None)),
    "adaptive to half": lambda x: F.adaptive_avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 4)),
    "average": nn.AvgPool2d(3, 2, 1),
    "average without padding": nn.AvgPool2d((3, 2), (2, 1), (1, 1), count_include_pad=False),
    "average with ceiling": nn.AvgPool2d(3, 2, ceil_mode=True),
    "average with ceiling and padding": nn.AvgPool2d(5, 3, 1, ceil_mode=True),
    "average with ceiling without padding": nn.AvgPool2d(5, 3, 2, ceil_mode=True, count_include_pad=False),
    "average of halves with ceiling": lambda x: F.avg_pool2d(F.max_pool2d(x, 2)[:, :, 1:], 2, ceil_mode=True),
    "largest with ceiling": nn.MaxPool2d(3, 2, ceil_mode=True),
    "largest with ceiling and padding": nn.MaxPool2d((3, 5), (2, 3), (1, 1), ceil_mode=True),
    "largest of one pixel with ceiling": nn.MaxPool2d(1, 2, ceil_mode=True),
}
CONVOLUTIONS: dict[str, Part] = {
    "depthwise": _seeded(lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)),
    "grouped": _seeded(lambda: nn.Conv2d(8, 4, (1, 5), padding=(0, 2), groups=4)),
    "dilated": _seeded(lambda: nn.Conv2d(8, 3, 3, padding=6, dilation=6)),
    "same": _seeded(lambda: nn.Conv2d(8, 3, (4, 3), padding="same", dilation=(1, 2))),
    "valid": _seeded(lambda: nn.Conv2d(8, 3, 3, padding="valid", stride=2, bias=False)),
    "reflecting": _seeded(lambda: nn.Conv2d(8, 3, 3, padding=1, padding_mode="reflect")),
    "of lines": nn.Sequential(nn.Flatten(2), _seeded(lambda: nn.Conv1d(8, 4, 3, 2, 1, groups=2))),
    "same of lines": nn.Sequential(nn.Flatten(2), _seeded(lambda: nn.Conv1d(8, 4, 4, padding="same", dilation=3))),
    "transposed": _seeded(lambda: nn.ConvTranspose2d(8, 4, 3, 2, 1, 1, groups=4)),
    "transposed without a bias": _seeded(lambda: nn.ConvTranspose2d(8, 4, (2, 4), (2, 3), (0, 1), (1, 0), bias=False)),
}
AXES: dict[str, Part] = {
    "split": lambda x: torch.cat(x.split([1, 2, 5], 1)[::-1], 1),
    "split in threes": lambda x: torch.cat(x.split(3, 1)[::-1], 1),
    "chunks": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "uneven chunks": lambda x: torch.cat(x.chunk(3, 1)[::-1], 1),
    "chunks of height": lambda x: torch.cat(x.chunk(2, 2)[::-1], 1),
    "unbound": lambda x: torch.stack(x.unbind(1)[::-1], 1),
    "slices": lambda x: x[:, 1:-2, 2:-3, 1:],
    "steps of channels": lambda x: x[:, 1::3],
    "focus": lambda x: torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1),
    "steps of odd rows": lambda x: x[:, :, 1:-2][:, :, ::3],
    "last rows": lambda x: x[:, :, x.shape[2] - 3 :, : x.shape[3] - 2],
    "cropped to another": lambda x: F.pad(x, (1, 1, 1, 1))[:, :, : x.shape[2], : x.shape[3]],
    "permuted": lambda x: x.permute(0, 2, 3, 1),
    "squeezed": lambda x: x.mean((2, 3), keepdim=True).squeeze(-1).squeeze(2).squeeze(1),
    "squeezed several": lambda x: x.mean((2, 3), keepdim=True).squeeze((2, 3)),
    "unsqueezed": lambda x: x.unsqueeze(-1).unsqueeze(1),
    "stacked": lambda x: torch.stack([x, x.permute(0, 1, 2, 3)], -1),
    "flat": nn.Flatten(),
    "flat map": nn.Flatten(2),
    "flat channels": lambda x: x.flatten(0, 1),
    "unflattened": nn.Unflatten(1, (2, 4)),
    "attention and back": _attention_back,
    "shuffled by parts": _shuffle,
    "shuffled": nn.ChannelShuffle(4),
    "unshuffled by parts": _unshuffle,
    "pixels shuffled": nn.PixelShuffle(2),
    "pixels unshuffled": nn.PixelUnshuffle(4),
    "repeated": lambda x: x.repeat(1, 2, 1, 3),
    "repeated with an axis": lambda x: x.repeat(2, 1, 1, 2, 1),
    "interleaved": lambda x: x.repeat_interleave(2, 1),
    "expanded": lambda x: torch.cat([x, x.mean((2, 3), keepdim=True).expand(-1, -1, *x.shape[2:])], 1),
    "expanded as": lambda x: x.mean(1, keepdim=True).expand_as(x),
    "expanded by constants": lambda x: x.unsqueeze(2).expand(-1, -1, 3, -1, -1),
    "a row expanded": lambda x: torch.cat([x, x.mean(3, keepdim=True).expand(-1, -1, -1, x.shape[3])], 1),
    "broadcast": lambda x: x * x.mean((2, 3), keepdim=True).expand_as(x),
    "one pixel spread": lambda x: F.interpolate(
        F.adaptive_avg_pool2d(x, 1), size=x.shape[2:], mode="bilinear", align_corners=False
    ),
}
PADDING: dict[str, Part] = {
    "zeros": nn.ZeroPad2d((1, 2, 3, 0)),
    "a number": lambda x: F.pad(x, (1, 2, 3, 0), value=-1.5),
    "reflected": nn.ReflectionPad2d((3, 0, 1, 2)),
    "edges": nn.ReplicationPad2d(2),
}
SCALING: dict[str, Part] = {
    **{
        f"nearest by {factor}": lambda x, factor=factor: F.interpolate(x, scale_factor=factor)
        for factor in (2, 3, 7, 1.5, 0.5, 0.25, 0.75, (2.5, 1.25), 6)
    },
    "nearest by another factor again": lambda x: F.interpolate(x, scale_factor=1.5, recompute_scale_factor=True),
    "nearest to twice the size": lambda x: F.interpolate(x, size=(2 * x.shape[2], 2 * x.shape[3])),
    "nearest to another's size": lambda x: F.interpolate(F.max_pool2d(x, 4), size=x.shape[-2:]),
    "nearest exact": lambda x: F.interpolate(x, scale_factor=3, mode="nearest-exact"),
    "nearest in a pyramid": _seeded(Pyramid),
    "bilinear in a pyramid": _seeded(lambda: Pyramid(mode="bilinear", align_corners=False)),
    "bilinear to twice the size": lambda x: F.interpolate(x, size=(2 * x.shape[2], 2 * x.shape[3]), mode="bilinear"),
    "bilinear to half": lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear"),
    "bilinear to half of odd": lambda x: F.interpolate(x[:, :, 1:, 1:], scale_factor=0.5, mode="bilinear"),
    "bilinear with corners": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
    "bilinear with corners to another's size": lambda x: F.interpolate(
        F.avg_pool2d(x, 8), size=x.shape[2:], mode="bilinear", align_corners=True
    ),
}
ROIS: dict[str, Part] = {
    "mean": nn.AdaptiveAvgPool2d(1),
    "largest": nn.AdaptiveMaxPool2d(1),
    "average": nn.AvgPool2d(3, 2, 1),
    "average of windows": nn.AdaptiveAvgPool2d((7, 2)),
    "largest with ceiling": nn.MaxPool2d(3, 2, ceil_mode=True),
    "depthwise": _seeded(lambda: nn.Conv2d(8, 8, 3, padding="same", groups=8)),
    "transposed": _seeded(lambda: nn.ConvTranspose2d(8, 4, 3, 2, 1, 1, groups=4)),
    "of lines": nn.Sequential(nn.Flatten(2), _seeded(lambda: nn.Conv1d(8, 4, 3))),
    "split": lambda x: torch.cat(x.split([1, 2, 5], 1)[::-1], 1),
    "chunks": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "steps": lambda x: x[:, ::2, 1:, ::3],
    "squeezed": lambda x: x.mean((2, 3), keepdim=True).squeeze(3),
    "flat": nn.Flatten(),
    "flat map": nn.Flatten(2),
    "shuffled by parts": _shuffle,
    "shuffled": nn.ChannelShuffle(4),
    "pixels shuffled": nn.PixelShuffle(2),
    "repeated": lambda x: x.repeat(1, 2, 1, 1),
    "expanded": lambda x: torch.cat([x, x.mean((2, 3), keepdim=True).expand(-1, -1, 14, 8)], 1),
    "broadcast": lambda x: x * x.mean((2, 3), keepdim=True).expand_as(x),
    "one pixel spread": lambda x: F.interpolate(F.adaptive_avg_pool2d(x, 1), size=(14, 8), mode="bilinear"),
    "padded": nn.ZeroPad2d((1, 2, 3, 0)),
    "reflected": nn.ReflectionPad2d(1),
    "nearest to a size": lambda x: F.interpolate(x, size=(28, 12)),
    "bilinear to a size": lambda x: F.interpolate(x, size=(28, 8), mode="bilinear"),
    "bilinear with corners": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
}
SETS = {
    "pooling": POOLING,
    "convolutions": CONVOLUTIONS,
    "axes": AXES,
    "padding": PADDING,
    "scaling": SCALING,
    "RoIs": ROIS,
}
# What adds numbers up; all else moves them, and then they are the same.
SUMS = ("mean", "average", "adaptive", "bilinear", "squeezed", "expanded", "broadcast", "one pixel", "pyramid", "row")


def _named(parts: str) -> list[str]:
    return [name.replace(" ", "_").replace(",", "").replace("'", "") for name in SETS[parts]]


def _traced(module: nn.Module, x: Tensor, outputs: list[str], count: bool) -> Nets:
    sizes = {0: Dim("n", min=2)} if count else {2: 8 * Dim("h", min=2), 3: 8 * Dim("w", min=2)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.export.export(module.eval().requires_grad_(False), (x,), dynamic_shapes=(sizes,), strict=False)
        return convert(export_onnx(Traced(program, tuple(outputs), {}), input_names=("data",)))


@cache
def converted(parts: str) -> Nets:
    x = torch.zeros(ROI_COUNTS[0], 8, 14, 8) if parts == "RoIs" else torch.zeros(1, 8, *MAP_SIZES[0])
    return _traced(Several(SETS[parts]), x, _named(parts), count=parts == "RoIs")


def _difference(found: np.ndarray, expected: np.ndarray, adds_up: bool) -> str:
    if found.shape != expected.shape:
        return f"{found.shape}, not {expected.shape}"
    difference = np.abs(found.astype(np.float64) - expected).max(initial=0)
    largest = np.abs(expected).max(initial=0)
    return f"differs by {difference}" if not difference <= (1e-5 * largest if adds_up else 0) else ""


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("parts", SETS)
def test_a_module_gives_in_a_net_what_it_gives_in_pytorch_at_every_size(parts: str, runtime: Runtime) -> None:
    module = Several(SETS[parts]).eval()
    shapes = [(n, 8, 14, 8) for n in ROI_COUNTS] if parts == "RoIs" else [(1, 8, *size) for size in MAP_SIZES]
    generator = torch.Generator().manual_seed(0)
    problems = []
    with runtime(converted(parts)) as running:
        for shape in shapes:
            x = torch.randn(shape, generator=generator)
            with torch.no_grad():
                expected = module(x)
            outputs = running.run({"data": x.numpy()})
            for part, name, wanted in zip(SETS[parts], _named(parts), expected, strict=True):
                adds_up = parts == "convolutions" or any(word in part for word in (*SUMS, "transposed", "of lines"))
                adds_up |= part == "depthwise"
                problem = _difference(outputs[name], wanted.numpy(), adds_up)
                problems += [f"{part} of {shape}: {problem}"] if problem else []
    assert problems == []


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (lambda x: F.interpolate(x, size=(7, 7)), "another factor for every image"),
        (lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"), "by constant whole factors"),
        (lambda x: F.interpolate(x, scale_factor=1.5, mode="nearest-exact"), "scale by whole factors"),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), "by the nearest pixel, or bilinearly"),
        (lambda x: F.adaptive_avg_pool2d(x, 7), "no windows of one size"),
        (lambda x: F.adaptive_max_pool2d(x, 2), "pool to 1, or by a kernel"),
        (lambda x: F.avg_pool2d(x, 2, divisor_override=3), "another number than the window's"),
        (lambda x: F.max_pool2d(x[:, :, 1:], 2, 3, ceil_mode=True), "may begin in the padding"),
        (lambda x: x.permute(0, 2, 1, 3)[:, ::2], "take steps there"),
        (lambda x: x[:, :, : x.shape[2] // 2], "cut at constant places"),
        (lambda x: torch.cat(x.chunk(3, 2)[::-1], 2), "not equal for every image"),
        (lambda x: torch.cat(x.split(8, 2)[:1], 2), "not equal for every image"),
        (lambda x: F.max_pool1d(x.flatten(2), 2), "not of height and width"),
        (lambda x: F.pad(x, (-1, 0, 0, 0)), "cut with a slice"),
        (lambda x: F.pad(x, (1, 1, 0, 0), mode="circular"), "the edge or a reflection"),
        (lambda x: F.pad(x, (0, 0, 0, 0, 1, 1)), "only height and width padded"),
        (lambda x: F.pad(x[0], (1, 1)), "its input has 3 axes"),
        (lambda x: x.mean(2, keepdim=True).expand(x.shape[2], -1, -1, -1), "as often as the image wills"),
        (lambda x: x.repeat(1, 1, x.shape[2], 1), "as often as the image wills"),
    ],
)
def test_what_caffe2_cannot_do_is_refused_in_one_line_with_a_way_out(part: Part, reason: str) -> None:
    with pytest.raises(UnsupportedOperator, match=reason) as refused:
        _traced(Several({"y": part}), torch.zeros(1, 8, *MAP_SIZES[0]), ["y"], count=False)
    assert "\n" not in str(refused.value)
