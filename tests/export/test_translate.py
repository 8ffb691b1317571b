"""A program that is translated as it is, beside what torch.onnx.export makes of it after tracing it anew."""

import re
from collections.abc import Callable

import onnx_ir as ir
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from roastery.config import load_config
from roastery.export import onnx as exporting
from roastery.export.onnx import OPSET, export_onnx
from roastery.export.trace import Traced, load_program, save_program, trace
from roastery.export.translate import Translations
from roastery.sources.native import load_detector, net_arguments


class Written(nn.Module):
    """Of a map what a function gives."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def program_of(function: Callable[[Tensor], Tensor]) -> ExportedProgram:
    sizes = {2: Dim("height", min=2), 3: Dim("width", min=2)}
    with torch.no_grad():
        return torch.export.export(Written(function), (torch.zeros(1, 3, 5, 7),), dynamic_shapes=[sizes])


def described(model: ir.Model) -> list[str]:
    """Everything but the weights, blobs between by their numbers; sizes of maps by what is known of them."""
    fixed = {*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()}
    numbers: dict[ir.Value, str] = {}

    def name(value: ir.Value | None) -> str:
        if value is None or value in fixed:
            return str(value and value.name)
        return numbers.setdefault(value, f"blob {len(numbers)}")

    def size(value: ir.Value) -> str:
        return f"{value.type} {[side if isinstance(side, int) else None for side in value.shape or []]}"

    lines = [
        f"{node.domain} {node.op_type} {[*map(name, node.inputs)]} {[*map(name, node.outputs)]} "
        f"{[*map(str, node.attributes.values())]} {dict(node.metadata_props)} {[*map(size, node.outputs)]}"
        for node in model.graph
    ]
    # Constants are told with their blob's name.
    lines = [re.sub(r'name="[^"]*"|name=\'[^\']*\'', "", line) for line in lines]
    for values in (model.graph.inputs, model.graph.outputs, model.graph.initializers.values()):
        lines += [f"{value.name} {size(value)}" for value in values]
    return [*lines, str(model.opset_imports), str(model.metadata_props), str(model.ir_version)]


@pytest.mark.parametrize(("kind", "batch"), [("keypoint", 1), ("mask", 2), ("panoptic", 1), ("retinanet", 1)])
def test_a_detector_translated_as_it_is_is_what_pytorchs_exporter_makes_of_it(
    kind, batch, shapes, tmp_path, monkeypatch
):
    folder = next(path for path in shapes.iterdir() if path.name.startswith(kind))
    config = load_config(folder / "config.yaml")
    (weights,) = folder.glob("model_final.*")
    detector = load_detector(config, weights)
    save_program(trace(detector, net_arguments(config, detector), batch), tmp_path / "model.pt2")

    with monkeypatch.context() as patched:
        patched.setattr(torch.onnx, "export", lambda *args, **kwargs: pytest.fail("it was traced a second time"))
        direct = export_onnx(load_program(tmp_path / "model.pt2"))
    monkeypatch.setattr(Translations, "suffice", lambda self: False)
    monkeypatch.setattr(exporting, "decompose", lambda program: None)
    traced_again = export_onnx(load_program(tmp_path / "model.pt2"))

    assert described(direct) == described(traced_again)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: F.relu(x + 1.0, inplace=True), id="writes over a map"),
        pytest.param(lambda x: x.reshape(1, 3, -1) * 2.0, id="may give its input back"),
        pytest.param(lambda x: x * 2, id="promotes a whole number"),
        pytest.param(lambda x: x * (x > 0), id="promotes a truth"),
        pytest.param(torch.special.entr, id="has no translation"),
    ],
)
def test_a_program_that_has_something_to_decompose_or_promote_goes_to_pytorchs_exporter(function):
    assert not Translations(program_of(function), {}, OPSET).suffice()


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: F.relu(x + 1.0), id="new maps alone"),
        pytest.param(lambda x: x * 2.0, id="a number of the map's type"),
        pytest.param(lambda x: torch.cat([x, x], dim=1), id="several of one type"),
        pytest.param(lambda x: x.transpose(2, 3), id="a view"),
    ],
)
def test_a_program_of_operators_that_are_translated_goes_as_it_is(function):
    assert Translations(program_of(function), {}, OPSET).suffice()


def test_an_output_that_was_rewritten_keeps_its_place_and_its_name():
    program = program_of(lambda x: F.adaptive_avg_pool2d(F.adaptive_avg_pool2d(x, (None, 1)), (1, 1)).flatten(1))
    model = export_onnx(Traced(program, ("given",), {}))
    assert [value.name for value in model.graph.outputs] == ["given"]
