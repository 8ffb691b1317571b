"""PyTorch's operators become one ONNX node each, as Caffe2 has them, or parts that it has."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from roastery.errors import UnsupportedOperator
from roastery.export.onnx import export_onnx
from roastery.export.trace import Traced


def _node_types(module: nn.Module, *inputs: Tensor, shapes: dict[int, object]) -> list[str]:
    program = torch.export.export(module.eval(), inputs, dynamic_shapes=(shapes,), strict=False)
    model = export_onnx(Traced(program, ("y",), {}), input_names=("x",))
    return [node.op_type for node in model.graph if node.op_type != "Constant"]


_IMAGE = {2: 8 * Dim("h", min=1), 3: 8 * Dim("w", min=1)}


def test_a_convolution_without_a_bias_stays_one_node() -> None:
    assert _node_types(nn.Conv2d(3, 4, 3, bias=False), torch.zeros(1, 3, 16, 24), shapes=_IMAGE) == ["Conv"]


def test_a_batch_norm_stays_one_node() -> None:
    assert _node_types(nn.BatchNorm2d(3), torch.zeros(1, 3, 16, 24), shapes=_IMAGE) == ["BatchNormalization"]


def test_a_group_norm_stays_one_node() -> None:
    assert _node_types(nn.GroupNorm(2, 4), torch.zeros(1, 4, 16, 24), shapes=_IMAGE) == ["GroupNormalization"]


def test_flattening_rois_becomes_flatten_with_no_arithmetic_on_shapes() -> None:
    rois = {0: Dim("n", min=2)}
    assert _node_types(nn.Flatten(), torch.zeros(5, 4, 7, 7), shapes=rois) == ["Flatten"]


def test_a_view_with_one_symbolic_size_becomes_a_reshape_by_constants() -> None:
    class Split(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(x.shape[0], 2, 2, 49)

    assert _node_types(Split(), torch.zeros(5, 4, 7, 7), shapes={0: Dim("n", min=2)}) == ["Reshape"]


def test_sizes_that_stay_where_they_are_are_kept_by_a_reshape_by_constants() -> None:
    class Part(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(1, x.shape[2] * 3, 1, x.shape[3])

    assert _node_types(Part(), torch.zeros(1, 3, 16, 24), shapes=_IMAGE) == ["Reshape"]


def test_of_two_sizes_that_move_one_is_asked_for_and_one_worked_out() -> None:
    class Merge(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(1, 3, 1, x.shape[2], x.shape[3])

    assert _node_types(Merge(), torch.zeros(1, 3, 16, 24), shapes=_IMAGE) == ["Shape", "Concat", "Reshape"]


class Function(nn.Module):
    """A function as the module `part` of a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


_FOUR = {2: 8 * Dim("h", min=2), 3: 8 * Dim("w", min=2)}


@pytest.mark.parametrize(
    ("function", "types"),
    [
        (lambda x: x.narrow(1, 1, 2), ["Slice"]),
        (lambda x: torch.ops.aten.slice.Tensor(x, -1, -5, -2), ["Slice"]),
        (lambda x: torch.ops.aten.index.Tensor(x, [None, torch.tensor([2, -1])]), ["Identity", "Gather"]),
        (lambda x: torch.div(x.long(), 3, rounding_mode="trunc"), ["Cast", "Div"]),
        (lambda x: torch.div(x.int(), x.int(), rounding_mode="trunc"), ["Cast", "Cast", "Div"]),
        (lambda x: x.clamp(0.25, 0.5), ["Clip"]),
        (lambda x: x.clamp(min=0.25), ["Clip"]),
        (lambda x: x.clamp(max=0.5), ["Clip"]),
        (F.relu6, ["Clip"]),
        (lambda x: F.hardtanh(x, -1, 2), ["Clip"]),
        (F.elu, ["Elu"]),
        (lambda x: x**2, ["Mul"]),
        (lambda x: x**0.5, ["Sqrt"]),
        (torch.mean, ["ReduceMean"]),
        (lambda x: x.max(1).values, ["ReduceMax"]),
        (lambda x: F.layer_norm(x.transpose(1, 3), (3,)), ["Transpose", "LayerNormalization"]),
        (F.hardswish, ["HardSigmoid", "Mul"]),
        (F.softplus, ["Relu", "Abs", "Neg", "Exp", "Add", "Log", "Add", "Sub", "Add", "Div", "Mul", "Add"]),
    ],
    ids=[
        "slice",
        "slice from behind",
        "index",
        "div",
        "div of int32",
        "clamp",
        "from below",
        "from above",
        "relu6",
        "hardtanh",
        "elu",
        "square",
        "root",
        "mean",
        "largest",
        "layer norm",
        "hardswish",
        "softplus",
    ],
)
def test_an_operator_stays_one_node_with_no_arithmetic_around_it(
    function: Callable[[Tensor], Tensor], types: list[str]
) -> None:
    assert _node_types(Function(function), torch.zeros(1, 3, 16, 24), shapes=_FOUR) == types


_REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "a slice by steps": (lambda x: x.unsqueeze(1)[:, :, :, ::2], "a slice by steps of 2 .* take steps there"),
    "a slice to a size": (lambda x: x[:, :, : x.shape[3] // 4], "a slice from 0 to .* by 1 has no Caffe2 form"),
    "a slice from a size": (lambda x: x[:, :, x.shape[3] // 8 :], "a slice from .* by 1 has no Caffe2 form"),
    "two vectors": (lambda x: x[:, torch.tensor([0, 1]), torch.tensor([0, 1])], "more than one vector of places"),
    "a matrix of places": (lambda x: x[:, torch.tensor([[0, 1], [2, 0]])], "more than one vector of places"),
    "a mask": (lambda x: x.transpose(0, 1)[x[0, :, 0, 0].bool()], "an index by a mask .* index by int64 places"),
    "floats towards zero": (lambda x: torch.div(x, 3.0, rounding_mode="trunc"), "a division of FLOAT with .* 'trunc'"),
    "floats down": (lambda x: torch.div(x, 3.0, rounding_mode="floor"), "rounding mode 'floor' has no Caffe2 form"),
    "whole numbers down": (lambda x: torch.div(x.long(), 3, rounding_mode="floor"), "rounding mode 'floor' has no"),
    "whole by a float": (lambda x: torch.div(x.long(), 2.5, rounding_mode="trunc"), "a division of FLOAT with"),
    "whole numbers between": (lambda x: x.long().clamp(0, 5), "whole numbers cannot be clamped .* as float32"),
    "a clamp to a blob": (lambda x: x.clamp(max=x - 1), "a clamp to what is computed .* clamp to constant numbers"),
    "a softplus that jumps": (lambda x: F.softplus(x, 1, 3), "a softplus with a jump at its threshold 3"),
    "a power of whole numbers": (lambda x: x.long() ** 3, "a power of INT64 has no Caffe2 form but the square"),
    "whole numbers to whole ones": (lambda x: x.long() ** x.long(), "a power of whole numbers has no Caffe2 form"),
    "a negative base": (lambda x: (-2) ** x, "-2 to the power of FLOAT has no Caffe2 form; take a positive base"),
    "a mean of float64": (lambda x: x.mean(1, dtype=torch.float64), "a mean of another type than float32"),
    "a sum of float64": (lambda x: x.sum(1, dtype=torch.float64), "a sum of another type than its numbers"),
    "a norm of order 3": (lambda x: x.norm(p=3, dim=1), "a norm of order 3 of FLOAT .* take 1, 2 or infinity"),
    "a corrected variance": (lambda x: x.var((2, 3)), "corrected by their number .* take unbiased=False"),
    "a layer norm of sizes": (lambda x: F.layer_norm(x, x.shape[2:]), "a layer norm over .* which depend on the image"),
    "whole numbers from below": (lambda x: x.int().clamp(min=0), "whole numbers cannot be clamped"),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_what_caffe2_has_no_form_for_is_refused_in_one_line(case: str) -> None:
    function, message = _REFUSED[case]
    with pytest.raises(UnsupportedOperator, match=message) as refused:
        _node_types(Function(function), torch.zeros(1, 3, 16, 24), shapes=_FOUR)
    assert "\n" not in str(refused.value)
