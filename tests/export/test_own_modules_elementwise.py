"""A user's own module: activations, arithmetic, reductions and norms give in both runtimes what PyTorch gives.

Exporting takes seconds, so each kind of input has one module of many parts, an output each.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
from roastery.export.onnx import export_onnx
from roastery.export.trace import Traced

pytestmark = pytest.mark.xdist_group("own modules elementwise")
RUNTIMES = {"torch": TorchRuntime, "caffe2": Caffe2Runtime}
CHANNELS = 6
Part = Callable[[Tensor], Tensor]


class ChannelsFirstNorm(nn.Module):
    """The layer norm over channels of ConvNeXt and ViTDet, as it is written there."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(channels)), nn.Parameter(torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class ChannelsLastNorm(nn.Module):
    """A layer norm between two permutations, and a layer of perceptrons over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(channels, 1e-6), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.layer(self.norm(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


class SqueezeAndExcite(nn.Module):
    """Channels weighed by what is in all of the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.expand(F.silu(self.reduce(x.mean((2, 3), keepdim=True)))))


class LayerScale(nn.Module):
    """A parameter beside channels, on the right and on the left, and a matrix that channels are multiplied with."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(channels)), nn.Parameter(torch.rand(channels, 1, 1))
        self.matrix = nn.Parameter(torch.rand(channels, 4))

    def forward(self, x: Tensor) -> Tensor:
        scaled = self.weight[:, None, None] * x + self.bias
        return torch.matmul(scaled.transpose(1, 3), self.matrix)


class GeneralizedMean(nn.Module):
    """The pooling with an exponent that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([3.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=1e-6).pow(self.p).mean((-2, -1)).pow(1.0 / self.p)


ACTIVATIONS: dict[str, Part] = {
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "LeakyReLU": nn.LeakyReLU(),
    "prelu of one": nn.PReLU(),
    "PReLU of channels": nn.PReLU(CHANNELS),
    "elu": F.elu,
    "ELU of 2": nn.ELU(2.0),
    "selu": F.selu,
    "celu": nn.CELU(2.0),
    "tanh": torch.tanh,
    "method tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "softplus": F.softplus,
    "Softplus of beta and threshold": nn.Softplus(2.0, 30.0),
    "logsigmoid": F.logsigmoid,
    "by softplus": lambda x: 1 / F.softplus(x.clamp(min=-60)),
    "log of softplus": lambda x: F.softplus(x.clamp(min=-60)).log(),
    "silu": F.silu,
    "SiLU in place": lambda x: nn.SiLU(inplace=True)(x * 0.5),
    "x sigmoid(x)": lambda x: x * torch.sigmoid(x),
    "hardsigmoid": F.hardsigmoid,
    "Hardswish": nn.Hardswish(),
    "mish": F.mish,
    "gelu": F.gelu,
    "gelu by tanh": nn.GELU(approximate="tanh"),
    "relu6": F.relu6,
    "hardtanh": nn.Hardtanh(-2.0, 2.0),
    "clamp": lambda x: x.clamp(-1, 3),
    "clip": lambda x: torch.clip(x, max=0.5),
    "erf": torch.erf,
    "softsign": F.softsign,
    "tanhshrink": F.tanhshrink,
}
ARITHMETIC: dict[str, Part] = {
    "a number added": lambda x: x + 2,
    "a number before": lambda x: 2 + x,
    "a number less": lambda x: x - 0.5,
    "from a number": lambda x: 1 - x,
    "times": lambda x: 3 * x,
    "by": lambda x: x / 7,
    "a number by": lambda x: 2 / (x.abs() + 1),
    "add with alpha": lambda x: torch.add(x, x, alpha=2),
    "sub with alpha": lambda x: torch.sub(x, x.abs(), alpha=0.5),
    "a row of the other": lambda x: x - x.mean(1, keepdim=True),
    "more axes on the right": lambda x: x[0, 0] * x,
    "more axes on the left": lambda x: x[0, 0] - x,
    "both sides": lambda x: x.mean(2, keepdim=True) * x.mean(3, keepdim=True),
    "square": torch.square,
    "** 2": lambda x: x**2,
    "** 3": lambda x: x**3,
    "** 0.5": lambda x: x.abs() ** 0.5,
    "** -0.5": lambda x: (x.abs() + 0.1) ** -0.5,
    "** 1.7": lambda x: x.abs() ** 1.7,
    "** y": lambda x: (x.abs() + 0.1) ** x.tanh(),
    "** y of each row": lambda x: (x.abs() + 0.1) ** x.tanh().mean(-1, keepdim=True),
    "row ** y": lambda x: (x.abs().mean(-1, keepdim=True) + 0.1) ** x.tanh(),
    "2 ** x": lambda x: 2 ** x.clamp(-5, 5),
    "sqrt": lambda x: x.abs().sqrt(),
    "rsqrt": lambda x: torch.rsqrt(x.abs() + 0.1),
    "reciprocal": lambda x: torch.reciprocal(x.abs() + 0.1),
    "1 /": lambda x: 1 / (x.abs() + 0.1),
    "exp": lambda x: x.clamp(max=10).exp(),
    "log": lambda x: torch.log(x.abs() + 0.1),
    "log2": lambda x: torch.log2(x.abs() + 0.1),
    "log10": lambda x: torch.log10(x.abs() + 0.1),
    "abs": torch.abs,
    "neg": lambda x: -x,
}
REDUCTIONS: dict[str, Part] = {
    "mean": lambda x: x.mean(),
    "mean of maps": lambda x: x.mean((2, 3)),
    "mean kept": lambda x: torch.mean(x, dim=-3, keepdim=True),
    "mean of behind": lambda x: x.mean([-1, -2], keepdim=True),
    "sum": torch.sum,
    "sum of one": lambda x: x.sum(1),
    "sum of several": lambda x: x.sum((3, 1), keepdim=True),
    "sum in its own type": lambda x: x.sum(2, dtype=torch.float32),
    "norm": lambda x: x.norm(dim=1),
    "norm of maps": lambda x: torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True),
    "norm of order 1": lambda x: x.norm(p=1, dim=1, keepdim=True),
    "norm of order infinity": lambda x: torch.linalg.vector_norm(x, ord=float("inf"), dim=3),
    "normalised": lambda x: x / x.norm(dim=1, keepdim=True).clamp(min=1e-12),
    "amax": lambda x: x.amax((2, 3)),
    "amax of negatives": lambda x: (-x.abs() - 1).amax(-1, keepdim=True),
    "amax of all": lambda x: x.amax(),
    "amin": lambda x: x.amin(1, keepdim=True),
    "max": lambda x: x.max(),
    "max of an axis": lambda x: x.max(1).values,
    "max kept": lambda x: torch.max(x, dim=2, keepdim=True)[0],
    "min of an axis": lambda x: torch.min(x, -1)[0],
    "biased variance": lambda x: x.var((2, 3), unbiased=False),
    "variance of channels": lambda x: x.var(1, keepdim=True),
    "std of channels": lambda x: x.std(1),
}
MODULES: dict[str, Part] = {
    "batch norm": nn.BatchNorm2d(CHANNELS),
    "batch norm without affine": nn.BatchNorm2d(CHANNELS, affine=False),
    "batch norm of what is activated": nn.Sequential(nn.ReLU(), nn.BatchNorm2d(CHANNELS), nn.ReLU()),
    "batch norm after two readers": lambda x: x.relu() + MODULES["batch norm"](x.relu()),
    "instance norm": nn.InstanceNorm2d(CHANNELS),
    "instance norm with affine": nn.InstanceNorm2d(CHANNELS, affine=True),
    "instance norm of running statistics": nn.InstanceNorm2d(CHANNELS, track_running_stats=True),
    "group norm without affine": nn.GroupNorm(3, CHANNELS, affine=False),
    "group norm of one": nn.GroupNorm(1, CHANNELS),
    "layer norm of channels first": ChannelsFirstNorm(CHANNELS),
    "layer norm of channels last": ChannelsLastNorm(CHANNELS),
    "squeeze and excite": SqueezeAndExcite(CHANNELS),
    "generalized mean": GeneralizedMean(),
    "attention of channels": lambda x: torch.matmul(x @ x.transpose(-1, -2) / 10, x),
    "layer scale": LayerScale(CHANNELS),
    "bmm": lambda x: torch.bmm(x[:, 0], x[:, 1].transpose(1, 2)),
}
HEADS: dict[str, Part] = {
    "linear": nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * 49, 5)),
    "linear without bias": nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * 49, 5, bias=False)),
    "linear of the last axis": nn.Linear(7, 3),
    "linear of the last axis without bias": nn.Linear(7, 3, bias=False),
    "batch norm 1d": nn.Sequential(nn.Flatten(), nn.BatchNorm1d(CHANNELS * 49)),
    "batch norm 1d without affine": nn.Sequential(nn.Flatten(), nn.BatchNorm1d(CHANNELS * 49, affine=False)),
    "layer norm": nn.LayerNorm(7),
    "layer norm without affine": nn.LayerNorm((7, 7), elementwise_affine=False),
    "layer norm without bias": nn.LayerNorm((CHANNELS, 7, 7), bias=False),
    "layer norm of rows": nn.Sequential(nn.Flatten(), nn.LayerNorm(CHANNELS * 49)),
    "prelu of rows": nn.Sequential(nn.Flatten(), nn.PReLU(CHANNELS * 49)),
    "product of each": lambda x: x @ x.transpose(2, 3),
}


class Every(nn.Module):
    """Each part of one input."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        super().__init__()
        self.parts = list(parts.values())
        self.modules_of_parts = nn.ModuleList(part for part in self.parts if isinstance(part, nn.Module))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(part(x) for part in self.parts)


@dataclass
class Made:
    """A module of many parts, its net, and what each part is called in it."""

    module: Every
    nets: Nets
    names: tuple[str, ...]


def _with_statistics(module: nn.Module) -> None:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and name.rpartition(".")[2] in ("weight", "bias", "running_mean", "running_var"):
            tensor.data = torch.randn(tensor.shape).abs() * 0.3 + 0.2


def _made(parts: Mapping[str, Part], x: Tensor, sizes: dict[int, object]) -> Made:
    torch.manual_seed(0)
    module = Every(parts).eval().requires_grad_(False)
    _with_statistics(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.export.export(module, (x,), dynamic_shapes=(sizes,), strict=False)
        names = tuple(f"out{number}" for number in range(len(parts)))
        nets = convert(export_onnx(Traced(program, names, {}), input_names=("data",)))
    return Made(module, nets, names)


_MAPS = {**ACTIVATIONS, **ARITHMETIC, **REDUCTIONS, **MODULES}
_ROIS = {**ACTIVATIONS, **HEADS, **{name: part for name, part in REDUCTIONS.items() if not name.endswith("all")}}
# Over all rows too, which is nothing where there are none: PyTorch gives NaN, or refuses.
for _name in ("mean", "sum", "max"):
    _ROIS.pop(_name)


@pytest.fixture(scope="module")
def maps() -> Made:
    shape = {2: 8 * Dim("h", min=2), 3: 8 * Dim("w", min=2)}
    return _made(_MAPS, torch.zeros(1, CHANNELS, 16, 24), shape)


@pytest.fixture(scope="module")
def rois() -> Made:
    return _made(_ROIS, torch.zeros(5, CHANNELS, 7, 7), {0: Dim("n", min=2)})


def _extreme(x: Tensor) -> Tensor:
    """Some of them as large as float32's exponentials bear not, and zeros."""
    large = torch.tensor([-1e4, -500.0, -89.0, -20.0, -12.0, 0.0, 12.0, 20.0, 89.0, 500.0, 1e4])
    return torch.where(torch.rand(x.shape) < 0.3, large[torch.randint(len(large), x.shape)], x)


def _differences(made: Made, parts: Mapping[str, Part], runtime: str, x: Tensor) -> dict[str, str]:
    """The parts that give other than PyTorch, and where."""
    expected = made.module(x)
    with RUNTIMES[runtime](made.nets) as running:
        outputs = running.run({"data": x.numpy()})
    found = {}
    for name, output, right in zip(parts, made.names, expected, strict=True):
        given = torch.from_numpy(np.asarray(outputs[output]))
        try:
            torch.testing.assert_close(given, right, rtol=1e-5, atol=2e-6, equal_nan=True)
        except AssertionError as error:
            found[name] = str(error)
    return found


@pytest.mark.parametrize("runtime", ["torch", pytest.param("caffe2", marks=pytest.mark.caffe2)])
@pytest.mark.parametrize("size", [(16, 24), (32, 24), (24, 41)])
def test_parts_of_maps_give_what_pytorch_gives_at_any_size(maps: Made, runtime: str, size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    assert _differences(maps, _MAPS, runtime, torch.randn(1, CHANNELS, *size)) == {}


@pytest.mark.parametrize("runtime", ["torch", pytest.param("caffe2", marks=pytest.mark.caffe2)])
# PyTorch's own warning of the variance of nothing.
@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("count", [0, 1, 5, 9])
def test_parts_of_rois_give_what_pytorch_gives_for_any_number_of_them(rois: Made, runtime: str, count: int) -> None:
    torch.manual_seed(2)
    assert _differences(rois, _ROIS, runtime, torch.randn(count, CHANNELS, 7, 7)) == {}


@pytest.mark.parametrize("runtime", ["torch", pytest.param("caffe2", marks=pytest.mark.caffe2)])
# Odd sizes: Caffe2 takes what is left of vectors of eight by other code.
@pytest.mark.parametrize("size", [(16, 24), (17, 23)])
def test_activations_of_extreme_numbers_are_those_of_pytorch(maps: Made, runtime: str, size: tuple[int, int]) -> None:
    torch.manual_seed(3)
    differences = _differences(maps, _MAPS, runtime, _extreme(torch.randn(1, CHANNELS, *size) * 3))
    assert {name: text for name, text in differences.items() if name in ACTIVATIONS} == {}
