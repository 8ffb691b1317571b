"""The NetDef operator table: each entry, from a PyTorch module to a net that gives what the module gives."""

import warnings
from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.convert import convert
from roastery.caffe2.nets import Nets
from roastery.caffe2.operators import table
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.errors import UnsupportedOperator
from roastery.export.onnx import export_onnx
from roastery.export.trace import Traced

RUNTIMES = ("torch", pytest.param("caffe2", marks=pytest.mark.caffe2))
_RUNTIME_TYPES = {"torch": TorchRuntime, "caffe2": Caffe2Runtime}


class Function(nn.Module):
    """A function as a module, with a parameter to use."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...] = (3, 1, 1)) -> None:
        super().__init__()
        self.function = function
        self.parameter = nn.Parameter(torch.rand(shape) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.parameter)


class Slices(nn.Module):
    """One slice along one axis, and no other that cuts nothing."""

    def __init__(self, axis: int, first: int, last: int) -> None:
        super().__init__()
        self.place = (axis, first, last)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.aten.slice.Tensor(x, *self.place)


class Places(nn.Module):
    """The places of one axis that a vector names."""

    def __init__(self, axis: int, places: list[int]) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("places", torch.tensor(places))

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.aten.index.Tensor(x, [None] * self.axis + [self.places])


def _netdef(module: nn.Module, x: Tensor) -> Nets:
    module = module.eval().requires_grad_(False)
    sizes = {0: Dim("n", min=4)} if x.shape[0] > 1 else {2: 8 * Dim("h", min=2), 3: 8 * Dim("w", min=2)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.export.export(module, (x,), dynamic_shapes=(sizes,), strict=False)
        return convert(export_onnx(Traced(program, ("y",), {}), input_names=("data",)))


_END = 2**63 - 1
_IMAGE, _ROIS, _ROWS = (1, 3, 16, 24), (5, 4, 7, 7), (5, 12)
# ONNX type that is tested, Caffe2 types that it gives, module, input shape.
_CASES: dict[str, tuple[str, list[str], Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv": ("Conv", ["Conv"], lambda: nn.Conv2d(3, 4, 3, padding=1), _IMAGE),
    "conv_strided_dilated_grouped": (
        "Conv",
        ["Conv"],
        lambda: nn.Conv2d(3, 6, (3, 5), stride=2, padding=(2, 4), dilation=2, groups=3),
        _IMAGE,
    ),
    "conv_with_batch_norm": (
        "Conv",
        ["Conv", "Relu"],
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), _trained_norm(4), nn.ReLU()),
        _IMAGE,
    ),
    "transposed_conv": ("ConvTranspose", ["ConvTranspose"], lambda: nn.ConvTranspose2d(4, 6, 2, stride=2), _ROIS),
    "transposed_conv_with_output_padding": (
        "ConvTranspose",
        ["ConvTranspose"],
        lambda: nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
        _ROIS,
    ),
    "max_pool": ("MaxPool", ["MaxPool"], lambda: nn.MaxPool2d(3, stride=2, padding=1), _IMAGE),
    "average_pool": ("AveragePool", ["AveragePool"], lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), _IMAGE),
    "average_pool_with_padding": ("AveragePool", ["AveragePool"], lambda: nn.AvgPool2d((2, 3), 2, 1), _IMAGE),
    "global_average_pool": ("GlobalAveragePool", ["AveragePool"], lambda: nn.AdaptiveAvgPool2d(1), _IMAGE),
    "global_max_pool": ("GlobalMaxPool", ["MaxPool"], lambda: nn.AdaptiveMaxPool2d(1), _IMAGE),
    "mean": ("ReduceMean", ["ReduceMean"], lambda: Function(lambda x, p: x.mean(dim=[2, 3])), _ROIS),
    "mean_kept": ("ReduceMean", ["ReduceMean"], lambda: Function(lambda x, p: x.mean(dim=-1, keepdim=True)), _ROIS),
    "linear": ("Gemm", ["Flatten", "FC"], lambda: nn.Sequential(nn.Flatten(), nn.Linear(196, 9)), _ROIS),
    "flatten": ("Flatten", ["Flatten"], nn.Flatten, _ROIS),
    "softmax": ("Softmax", ["Softmax"], lambda: nn.Softmax(dim=-1), _ROWS),
    "relu": ("Relu", ["Relu"], nn.ReLU, _IMAGE),
    "sigmoid": ("Sigmoid", ["Sigmoid"], nn.Sigmoid, _IMAGE),
    "add": ("Add", ["Add"], lambda: Function(lambda x, p: x + p), _IMAGE),
    "sub": ("Sub", ["Sub"], lambda: Function(lambda x, p: x - p), _IMAGE),
    "mul": ("Mul", ["Mul"], lambda: Function(lambda x, p: x * p), _IMAGE),
    "div": ("Div", ["Div"], lambda: Function(lambda x, p: x / p), _IMAGE),
    "exp": ("Exp", ["Exp"], lambda: Function(lambda x, p: x.exp()), _IMAGE),
    "clip": ("Clip", ["Clip"], lambda: Function(lambda x, p: x.clamp(-0.5, 0.25)), _IMAGE),
    "clip_from_below": ("Clip", ["Clip"], lambda: Function(lambda x, p: x.clamp(min=0.1)), _IMAGE),
    "clip_from_above": ("Clip", ["Clip"], lambda: Function(lambda x, p: x.clamp(max=0.1)), _IMAGE),
    "clip_to_whole_bounds": ("Clip", ["Clip"], lambda: Function(lambda x, p: x.clamp(0, 1)), _IMAGE),
    "clip_from_a_whole_bound": ("Clip", ["Clip"], lambda: Function(lambda x, p: x.clamp(min=0)), _IMAGE),
    "clip_of_a_relu6": ("Clip", ["Clip"], lambda: nn.Sequential(nn.ReLU6()), _IMAGE),
    "clip_min": ("Clip", ["Clip"], lambda: Function(lambda x, p: torch.clamp_min(x, 0.1)), _IMAGE),
    "clip_max": ("Clip", ["Clip"], lambda: Function(lambda x, p: torch.clamp_max(x, 0.1)), _IMAGE),
    "cast_to_whole": ("Cast", ["Mul", "Cast"], lambda: Function(lambda x, p: (x * p).to(torch.int32)), _IMAGE),
    "cast_to_int64_and_back": ("Cast", ["Cast", "Cast"], lambda: Function(lambda x, p: x.long().float()), _IMAGE),
    "cast_to_bool": ("Cast", ["Relu", "Cast"], lambda: Function(lambda x, p: F.relu(x).bool()), _IMAGE),
    "div_of_whole_numbers": (
        "Div",
        ["Mul", "Mul", "Cast", "Div"],
        lambda: Function(lambda x, p: torch.div((x * (20 * p)).long(), -3, rounding_mode="trunc")),
        _IMAGE,
    ),
    "transpose": ("Transpose", ["Transpose"], lambda: Function(lambda x, p: x.permute(0, 2, 3, 1)), _IMAGE),
    "transpose_two": ("Transpose", ["Transpose"], lambda: Function(lambda x, p: x.transpose(1, -1)), _ROIS),
    "pad_of_the_edge": (
        "Pad",
        ["PadImage"],
        lambda: Function(lambda x, p: F.pad(x, (1, 2, 3, 0), mode="replicate")),
        _IMAGE,
    ),
    "pad_of_zeros": ("Pad", ["PadImage"], lambda: nn.ZeroPad2d((1, 2, 3, 0)), _IMAGE),
    "pad_of_a_reflection": ("Pad", ["PadImage"], lambda: nn.ReflectionPad2d((1, 2, 3, 0)), _IMAGE),
    "slice_from": ("Slice", ["Slice"], lambda: Function(lambda x, p: x.narrow(1, 1, 2)), _IMAGE),
    **{
        f"slice_{first}_{last}_along_{axis}": (
            "Slice",
            ["Slice"],
            lambda axis=axis, first=first, last=last: Slices(axis, first, last),
            _IMAGE,
        )
        for axis, first, last in [
            *[(1, 1, 3), (1, -2, _END), (1, 0, -1), (1, -3, -1), (1, -9, 2), (1, 5, _END), (1, 2, 1), (1, 1, 99)],
            *[(2, 3, 7), (2, -3, _END), (2, 0, -3), (2, -5, -2), (3, 1, _END), (3, -9, -1), (3, 0, 8)],
        ]
    },
    "slice_of_rois": ("Slice", ["Slice"], lambda: Slices(0, 1, 4), _ROIS),
    "slice_of_rois_from_behind": ("Slice", ["Slice"], lambda: Slices(0, -3, -1), _ROIS),
    "index_along_1": ("Gather", ["Gather"], lambda: Places(1, [2, 0, 0]), _IMAGE),
    "index_from_behind_along_1": ("Gather", ["Gather"], lambda: Places(1, [-1, 0, -3]), _IMAGE),
    "index_from_behind_along_3": ("Gather", ["Gather"], lambda: Places(3, [-1, 5, -16]), _IMAGE),
    "index_from_behind_along_0": ("Gather", ["Gather"], lambda: Places(0, [-1, 4, 0]), _ROIS),
    "select_from_behind": ("Gather", ["Gather"], lambda: Function(lambda x, p: x.select(1, -1)), _IMAGE),
    "index_of_whole_numbers": (
        "Gather",
        ["Cast", "Gather"],
        lambda: nn.Sequential(Function(lambda x, p: x.long()), Places(1, [-1, 0])),
        _ROIS,
    ),
    "concat": ("Concat", ["Relu", "Concat"], lambda: Function(lambda x, p: torch.cat([x, F.relu(x)], dim=1)), _IMAGE),
    "resize_nearest": (
        "Resize",
        ["ResizeNearest"],
        lambda: nn.Upsample(scale_factor=2.0, mode="nearest"),
        _IMAGE,
    ),
    "resize_bilinear_with_corners": (
        "Resize",
        ["UpsampleBilinear"],
        lambda: nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=True),
        _IMAGE,
    ),
    "split": ("Split", ["Split", "Concat"], lambda: Function(lambda x, p: torch.cat(x.chunk(2, 1)[::-1], 1)), _ROIS),
    "unsqueeze": ("Unsqueeze", ["ExpandDims"], lambda: Function(lambda x, p: x.unsqueeze(-2)), _IMAGE),
    "squeeze": ("Squeeze", ["ReduceMean", "Squeeze"], lambda: Function(lambda x, p: x.mean(1, True).squeeze(1)), _ROIS),
    "tile": ("Tile", ["Tile"], lambda: Function(lambda x, p: x.repeat(1, 3, 1, 1)), _ROIS),
    "expand": (
        "Expand",
        ["Shape", "Concat", "Expand"],
        lambda: Function(lambda x, p: p.expand(1, -1, -1, x.shape[3]), (1, 2, 3, 1)),
        _IMAGE,
    ),
    "reshape_to_a_computed_shape": (
        "Shape",
        ["Shape", "Concat", "Reshape"],
        lambda: Function(lambda x, p: x.reshape(1, 3, 1, x.shape[2], x.shape[3])),
        _IMAGE,
    ),
    "group_norm": ("GroupNormalization", ["GroupNorm"], lambda: _scaled_group_norm(2, 4), _ROIS),
    **{
        name: (name, [caffe2], lambda function=function: Function(lambda x, p: function(x)), _IMAGE)
        for name, caffe2, function in (
            ("Abs", "Abs", torch.abs),
            ("Elu", "Elu", lambda x: F.elu(x, 2.0)),
            ("Erf", "Erf", torch.erf),
            ("Gelu", "Gelu", F.gelu),
            ("HardSigmoid", "HardSigmoid", F.hardsigmoid),
            ("LeakyRelu", "LeakyRelu", lambda x: F.leaky_relu(x, 0.2)),
            ("Mish", "Mish", F.mish),
            ("Neg", "Negative", torch.neg),
            ("Pow", "Pow", lambda x: x**3),
            ("ReduceMax", "ReduceMax", lambda x: x.amax((2, -3))),
            ("ReduceMin", "ReduceMin", lambda x: x.amin(1)),
            ("ReduceSum", "ReduceSum", lambda x: x.sum(1, keepdim=True)),
            ("Selu", "Selu", F.selu),
            ("Tanh", "Tanh", torch.tanh),
        )
    },
    **{
        name: (
            name,
            ["Abs", "Add", name],
            lambda function=function: Function(lambda x, p: function(x.abs() + p)),
            _IMAGE,
        )
        for name, function in (("Log", torch.log), ("Reciprocal", torch.reciprocal), ("Sqrt", torch.sqrt))
    },
    "pow_of_tensors": ("Pow", ["Abs", "Pow"], lambda: Function(lambda x, p: x.abs() ** x), _IMAGE),
    "pow_of_a_parameter": ("Pow", ["Abs", "Pow"], lambda: Function(lambda x, p: x.abs() ** p, (1,)), _IMAGE),
    "prelu": ("PRelu", ["PRelu"], lambda: nn.PReLU(3), _IMAGE),
    "linear_without_bias": ("Gemm", ["BatchMatMul"], lambda: nn.Linear(12, 9, bias=False), _ROWS),
    "matmul": ("MatMul", ["BatchMatMul"], lambda: Function(torch.matmul, (7, 5)), _ROIS),
    "linear_of_maps": ("MatMul", ["BatchMatMul", "Add"], lambda: nn.Linear(7, 3), _ROIS),
    "lone_batch_norm": ("BatchNormalization", ["SpatialBN"], lambda: _trained_norm(3), _IMAGE),
    "batch_norm_without_affine": ("BatchNormalization", ["SpatialBN"], lambda: nn.BatchNorm2d(3, affine=False), _IMAGE),
    "instance_norm": ("InstanceNormalization", ["GroupNorm"], lambda: nn.InstanceNorm2d(3), _IMAGE),
    "layer_norm": ("LayerNormalization", ["LayerNorm"], lambda: nn.LayerNorm((7, 7)), _ROIS),
    "reshape": ("Reshape", ["Reshape"], lambda: Function(lambda x, p: x.view(x.shape[0], 2, 2, 49)), _ROIS),
}


def _trained_norm(channels: int) -> nn.Module:
    norm = nn.BatchNorm2d(channels)
    norm.running_mean, norm.running_var = torch.randn(channels), torch.rand(channels) + 0.5
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def _scaled_group_norm(groups: int, channels: int) -> nn.Module:
    norm = nn.GroupNorm(groups, channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def test_every_entry_of_the_table_has_a_case() -> None:
    assert {case[0] for case in _CASES.values()} == set(table())


@cache
def _converted(case: str) -> tuple[nn.Module, Tensor, Nets]:
    """Once for both runtimes: an export takes seconds."""
    _, _, build, shape = _CASES[case]
    torch.manual_seed(0)
    module, x = build(), torch.randn(shape)
    return module, x, _netdef(module, x)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("case", _CASES)
def test_an_entry_gives_what_pytorch_gives(case: str, runtime: str) -> None:
    _, types, _, shape = _CASES[case]
    module, x, nets = _converted(case)
    assert [op.type for op in nets.predict_net.op] == types
    # Another size than the one that was traced.
    larger = torch.randn(1, 3, 32, 24) if shape == _IMAGE else torch.randn(7, *shape[1:])
    with _RUNTIME_TYPES[runtime](nets) as running:
        for batch in (x, larger):
            outputs = running.run({"data": batch.numpy()})
            torch.testing.assert_close(torch.from_numpy(outputs["y"]), module(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("module", "shape", "reason"),
    [
        (Function(lambda x, p: x.cumsum(1)), _IMAGE, "CumSum has no Caffe2 form"),
        (nn.Softmax(dim=1), _IMAGE, "softmax over axis 1 of 4"),
        (nn.MaxPool2d(3, dilation=2), _IMAGE, "MaxPool has no dilation"),
        (nn.ConvTranspose2d(3, 3, 3, dilation=2), _IMAGE, "ConvTranspose has no dilation"),
        (nn.Upsample(scale_factor=2.0, mode="bicubic"), _IMAGE, "by the nearest pixel, or bilinearly"),
        (Function(lambda x, p: F.pad(x, (1, 1, 1, 1), mode="circular")), _IMAGE, "the edge or a reflection"),
        (Function(lambda x, p: F.pad(x, (0, 0, 0, 0, 1, 1))), _IMAGE, "only height and width padded"),
        (Function(lambda x, p: F.pad(x, (-1, 1, 1, 1), mode="replicate")), _IMAGE, "only height and width padded"),
        (Function(lambda x, p: x.double()), _IMAGE, "a cast to ONNX's data type 11"),
        (Function(lambda x, p: x.half()), _IMAGE, "a cast to ONNX's data type 10"),
        (Function(lambda x, p: x.flip(1)), _IMAGE, "only a part of one axis between constants"),
        (Function(lambda x, p: x.max(1)[1].float()), _IMAGE, "ArgMax has no Caffe2 form"),
        (Function(lambda x, p: x @ p, (7,)), _ROIS, "a product with a vector"),
    ],
    ids=[
        "unknown",
        "softmax_axis",
        "pool_dilation",
        "deconv_dilation",
        "bicubic",
        "circular",
        "channels",
        "crop",
        "double",
        "half",
        "flip",
        "argmax",
        "vector",
    ],
)
def test_what_has_no_caffe2_form_stops_the_conversion_with_a_way_out(
    module: nn.Module, shape: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(UnsupportedOperator, match=reason) as refused:
        _netdef(nn.Sequential(nn.Identity(), module), torch.randn(shape))
    # The module that it came from, and what to do.
    assert "module '1'" in str(refused.value)
    assert "rewrite the module" in str(refused.value)
    assert "\n" not in str(refused.value)
