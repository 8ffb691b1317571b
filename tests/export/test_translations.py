"""PyTorch's operators become one ONNX node each, as Caffe2 has them."""

import pytest
import torch
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


def test_a_view_with_two_symbolic_sizes_is_refused() -> None:
    class Merge(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(1, 3, x.shape[2], 1, x.shape[3])

    with pytest.raises(UnsupportedOperator, match="more than one size that depends on the image"):
        _node_types(Merge(), torch.zeros(1, 3, 16, 24), shapes=_IMAGE)
