"""Bilinear upsampling: from F.interpolate to a net of both runtimes that gives what F.interpolate gives."""

import warnings
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.convert import convert
from roastery.caffe2.kernels.fills import packed_floats
from roastery.caffe2.nets import Nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.errors import UnsupportedOperator
from roastery.export.onnx import export_onnx
from roastery.export.trace import Traced

RUNTIMES = [TorchRuntime, pytest.param(Caffe2Runtime, marks=pytest.mark.caffe2)]
Runtime = type[TorchRuntime] | type[Caffe2Runtime]
# Factors of height and width, and the map's channels.
CASES = [(2, 1), (3, 5), (4, 2), (8, 3), ((2.0, 3.0), 4), ((3.0, 2.0), 1), ((4.0, 1.0), 2), ((1.0, 8.0), 3)]
SIZES = [(1, 1), (1, 13), (9, 1), (2, 3), (9, 13)]


class Upsample(nn.Module):
    """F.interpolate as the module `up`."""

    def __init__(self, *options: dict[str, object]) -> None:
        super().__init__()
        self.up = nn.ModuleList(_Interpolate(each) for each in options)

    def forward(self, x: Tensor) -> Tensor:
        for each in self.up:
            x = each(x)
        return x


class _Interpolate(nn.Module):
    def __init__(self, options: dict[str, object]) -> None:
        super().__init__()
        self.options = {"mode": "bilinear", "align_corners": False} | options

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, **self.options)


def converted(module: nn.Module, channels: int = 3, dynamic_batch: bool = False) -> Nets:
    # Of two units and more, which a module may halve.
    sizes = {2: 8 * Dim("h", min=2), 3: 8 * Dim("w", min=2)} | ({0: Dim("n", min=0)} if dynamic_batch else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        sample = torch.zeros(2 if dynamic_batch else 1, channels, 16, 24)
        program = torch.export.export(module.eval(), (sample,), dynamic_shapes=(sizes,), strict=False)
        return convert(export_onnx(Traced(program, ("y",), {}), input_names=("data",)))


@cache
def upsampling(factor: object, channels: int, dynamic_batch: bool = False) -> Nets:
    return converted(Upsample({"scale_factor": factor}), channels, dynamic_batch)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("factor", "channels"), CASES, ids=str)
def test_a_map_of_any_size_is_upsampled_as_pytorch_does(factor: object, channels: int, runtime: Runtime) -> None:
    module = Upsample({"scale_factor": factor})
    generator = torch.Generator().manual_seed(channels)
    with runtime(upsampling(factor, channels)) as running:
        for size in SIZES:
            x = torch.randn(1, channels, *size, generator=generator)
            found = torch.from_numpy(running.run({"data": x.numpy()})["y"])
            torch.testing.assert_close(found, module(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("images", [0, 1, 3])
def test_a_batch_of_any_number_is_upsampled_one_of_none_too(images: int, runtime: Runtime) -> None:
    module = Upsample({"scale_factor": (2.0, 3.0)})
    x = torch.randn(images, 4, 5, 2, generator=torch.Generator().manual_seed(0))
    with runtime(upsampling((2.0, 3.0), 4, dynamic_batch=True)) as running:
        found = torch.from_numpy(running.run({"data": x.numpy()})["y"])
    assert found.shape == (images, 4, 10, 6)
    torch.testing.assert_close(found, module(x), rtol=1e-5, atol=1e-5)


def test_a_map_of_one_value_stays_one_to_the_last_bit_at_its_border_too() -> None:
    with TorchRuntime(upsampling(4, 2)) as running:
        found = running.run({"data": np.full((1, 2, 2, 3), 0.5, np.float32)})["y"]
    assert found.shape == (1, 2, 8, 12)
    assert (found == 0.5).all()


def test_it_is_a_padded_border_and_a_kernel_for_each_channel_that_falls_off_linearly() -> None:
    nets = upsampling((2.0, 3.0), 4)
    assert [operator.type for operator in nets.predict_net.op] == ["PadImage", "ConvTranspose"]
    (weight,) = nets.init_net.op
    arguments = {argument.name: argument for argument in weight.arg}
    assert list(arguments["shape"].ints) == [4, 1, 4, 5]
    # By hand: a pixel of 2 lends its neighbours 1/4 and 3/4, one of 3 lends 1/3, 2/3 and all.
    kernel = np.outer([1 / 4, 3 / 4, 3 / 4, 1 / 4], [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
    found = packed_floats(arguments["values"]).reshape(4, 4, 5)
    np.testing.assert_allclose(found, [kernel] * 4, rtol=1e-6)


def test_upsamplings_of_one_channel_count_and_factor_share_one_weight() -> None:
    nets = converted(Upsample({"scale_factor": 2}, {"scale_factor": 4}, {"scale_factor": 2}))
    upsamplings = [operator for operator in nets.predict_net.op if operator.type == "ConvTranspose"]
    first, other, second = (operator.input[1] for operator in upsamplings)
    assert first == second != other
    assert sorted(nets.init_net.external_output) == sorted({first, other})


@pytest.mark.parametrize("others", [(4.0, 3.0), (2.0, 4.0)])
def test_upsamplings_that_differ_in_one_factor_have_weights_of_their_own(others: tuple[float, float]) -> None:
    nets = converted(Upsample({"scale_factor": (2.0, 3.0)}, {"scale_factor": others}))
    first, second = (operator.input[1] for operator in nets.predict_net.op if operator.type == "ConvTranspose")
    assert first != second


def test_what_comes_before_and_after_keeps_its_place_and_the_output_its_name() -> None:
    module = nn.Sequential(nn.ReLU(), Upsample({"scale_factor": 2}), nn.Sigmoid())
    nets = converted(module)
    assert [op.type for op in nets.predict_net.op] == ["Relu", "PadImage", "ConvTranspose", "Sigmoid"]
    assert {op.name for op in nets.predict_net.op if op.type in ("PadImage", "ConvTranspose")} == {"1.up.0"}
    assert list(nets.predict_net.external_output) == ["y"]
    x = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = torch.from_numpy(TorchRuntime(nets).run({"data": x.numpy()})["y"])
    torch.testing.assert_close(found, module(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "module",
    [
        Upsample({"scale_factor": 1.5}),
        Upsample({"scale_factor": (2.0, 2.5)}),
        Upsample({"scale_factor": 0.25}),
        Upsample({"scale_factor": (2.0, 0.5)}),
        # Its kernel would be larger than what it is worth.
        Upsample({"scale_factor": 65.0}),
    ],
    ids=["no whole factor", "one whole factor", "down", "down on one side", "too far"],
)
def test_what_is_not_exact_is_refused_with_its_module_and_the_way_out(module: nn.Module) -> None:
    with pytest.raises(UnsupportedOperator, match=r"is exact by constant whole factors and by 0\.5") as refused:
        converted(module)
    assert "module 'up.0'" in str(refused.value)
    assert "rewrite the module with operators that Caffe2 has" in str(refused.value)
    assert "\n" not in str(refused.value)
