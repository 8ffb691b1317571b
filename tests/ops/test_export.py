"""Each operator through torch.export with dynamic sizes, and from there to ONNX as one node of its name."""

from collections.abc import Mapping
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from roastery.ops.definition import ONNX_DOMAIN, ONNX_DOMAIN_VERSION, Operator, operators, translations


class Apply(nn.Module):
    """One operator with its arguments, and what the exporter must carry through: work before and after it."""

    def __init__(self, operator: Operator, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.operator = operator
        self.arguments = dict(arguments)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        first = inputs[0] * 1
        rest = list(inputs[1:])
        outputs = (
            self.operator([first, *rest], **self.arguments)
            if self.operator.takes_list
            else self.operator(first, *rest, **self.arguments)
        )
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(output + 1 for output in outputs)


def rois(count: int, images: int = 1) -> Tensor:
    """Proposals (count, 5) of all FPN levels, images in order."""
    generator = torch.Generator().manual_seed(count)
    corners = torch.rand(count, 2, generator=generator) * 300
    sides = 4 * 200 ** torch.rand(count, 2, generator=generator)
    index = (torch.arange(count) * images // max(1, count)).float()[:, None]
    return torch.cat([index, corners, corners + sides], dim=1)


def features(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


NO_ANGLE = {"angle_bound_on": True, "angle_bound_lo": -180, "angle_bound_hi": 180, "clip_angle_thresh": 1.0}
IM_INFO = torch.tensor([[320.0, 400.0, 1.0]])
ANCHORS = torch.tensor([[-16.0, -16.0, 16.0, 16.0], [-32.0, -16.0, 32.0, 16.0]])
ROWS = {0: Dim("rows", min=2)}
CELLS = {2: Dim("height", min=2), 3: Dim("width", min=2)}


def generate_inputs(height: int, width: int) -> tuple[Tensor, ...]:
    return features(1, 2, height, width), features(1, 8, height, width) * 0.3, IM_INFO, ANCHORS


def collect_inputs(*counts: int) -> tuple[Tensor, ...]:
    return *[rois(count) for count in counts], *[features(count) for count in counts]


def nms_inputs(count: int) -> tuple[Tensor, ...]:
    return features(count, 4).softmax(1), rois(count)[:, 1:].repeat(1, 3), torch.tensor([float(count)])


# Operator: arguments, inputs to trace, their dynamic dimensions, inputs to run.
CASES: dict[str, tuple[dict[str, Any], tuple[Tensor, ...], tuple[Any, ...], list[tuple[Tensor, ...]]]] = {
    "BatchPermutation": (
        {},
        (features(6, 3, 7, 7), torch.randperm(6).int()),
        (ROWS, ROWS),
        [(features(9, 3, 7, 7), torch.randperm(9).int())],
    ),
    "BBoxTransform": (
        {"weights": [10.0, 10.0, 5.0, 5.0], "legacy_plus_one": False, **NO_ANGLE},
        (rois(6), features(6, 12), IM_INFO),
        (ROWS, ROWS, None),
        [(rois(11), features(11, 12), IM_INFO)],
    ),
    "BoxWithNMSLimit": (
        {"input_boxes_include_bg_cls": False, "output_classes_include_bg_cls": False, "legacy_plus_one": False},
        nms_inputs(20),
        (ROWS, ROWS, None),
        [nms_inputs(50), nms_inputs(3)],
    ),
    "CollectRpnProposals": (
        {"rpn_max_level": 3, "rpn_min_level": 2, "rpn_post_nms_topN": 10},
        collect_inputs(8, 5),
        tuple({0: Dim(f"level{level}", min=2)} for level in (0, 1)) * 2,
        [collect_inputs(30, 12), collect_inputs(2, 3)],
    ),
    "DistributeFpnProposals": (
        {"legacy_plus_one": False},
        (rois(12),),
        (ROWS,),
        [(rois(40),), (rois(2),)],
    ),
    "GenerateProposals": (
        {"spatial_scale": 0.125, "pre_nms_topN": 100, "post_nms_topN": 30, "legacy_plus_one": False, **NO_ANGLE},
        generate_inputs(10, 14),
        (CELLS, CELLS, None, None),
        [generate_inputs(20, 11), generate_inputs(3, 2)],
    ),
    "HeatmapMaxKeypoint": (
        {"should_output_softmax": True},
        (features(4, 5, 8, 8), rois(4)[:, 1:]),
        (ROWS, ROWS),
        [(features(7, 5, 8, 8), rois(7)[:, 1:])],
    ),
    "LengthsToSegmentIds": (
        {},
        (torch.tensor([2, 0, 3], dtype=torch.int32),),
        (ROWS,),
        [(torch.tensor([0, 0, 0, 4, 1], dtype=torch.int32),), (torch.tensor([0, 0], dtype=torch.int32),)],
    ),
    "ReplaceNaN": (
        {"value": -1.5},
        (features(4, 5, 8, 8) / 0,),
        (ROWS,),
        [(features(7, 5, 8, 8).log(),)],
    ),
    "RoIAlign": (
        {"spatial_scale": 0.125, "pooled_h": 7, "pooled_w": 7, "sampling_ratio": 0, "aligned": True},
        (features(1, 8, 30, 40), rois(6)),
        (CELLS, ROWS),
        [(features(1, 8, 25, 50), rois(13))],
    ),
    "Shape": (
        {"axes": [3, 0, 2]},
        (features(1, 8, 30, 40),),
        (CELLS,),
        [(features(1, 8, 25, 50),)],
    ),
    "TopK": (
        {"k": 4},
        (features(2, 3, 6, 9),),
        (CELLS,),
        [(features(2, 3, 5, 20),), (features(2, 3, 5, 2),)],
    ),
}


def exported(name: str) -> torch.export.ExportedProgram:
    arguments, inputs, dynamic, _ = CASES[name]
    module = Apply(operators()[name], arguments)
    return torch.export.export(module, inputs, dynamic_shapes=(dynamic,), strict=False)


def test_every_operator_is_exported_here() -> None:
    assert set(CASES) == set(operators())


@pytest.mark.parametrize("name", CASES)
def test_an_exported_operator_runs_on_other_sizes(name: str) -> None:
    arguments, _, _, others = CASES[name]
    program = exported(name).module()
    for inputs in others:
        expected = Apply(operators()[name], arguments)(*inputs)
        actual = program(*inputs)
        assert [output.shape for output in actual] == [output.shape for output in expected]
        for actual_output, expected_output in zip(actual, expected, strict=True):
            torch.testing.assert_close(actual_output, expected_output, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", CASES)
def test_an_operator_becomes_one_onnx_node_that_passes_the_checker(name: str) -> None:
    program = torch.onnx.export(
        exported(name),
        dynamo=True,
        custom_translation_table=translations(),
        opset_version=21,
        optimize=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    onnx.checker.check_model(model)
    nodes = [node for node in model.graph.node if node.domain == ONNX_DOMAIN]
    assert [node.op_type for node in nodes] == [name]
    assert {entry.domain: entry.version for entry in model.opset_import}[ONNX_DOMAIN] == ONNX_DOMAIN_VERSION
    # Every argument is written out, with the value that was given or Caffe2's default.
    definition = operators()[name]
    written = {a.name: onnx.helper.get_attribute_value(a) for a in nodes[0].attribute}
    given = {argument.name: argument.default for argument in definition.arguments.values()} | CASES[name][0]
    assert set(written) == set(given)
    for argument, value in given.items():
        expected = definition.arguments[argument].to_attribute(value)
        assert written[argument] == (expected.encode() if isinstance(expected, str) else pytest.approx(expected))


@pytest.mark.parametrize("name", CASES)
def test_an_operator_keeps_torchs_rules(name: str) -> None:
    """Its schema is true (nothing is written to, nothing given back as it came) and its fake kernel fits."""
    arguments, inputs, _, _ = CASES[name]
    definition = operators()[name]
    positional: tuple[Any, ...] = (list(inputs),) if definition.takes_list else inputs
    overload = definition.overloads[definition.count_outputs(arguments)]
    torch.library.opcheck(overload, positional, arguments, test_utils=("test_schema", "test_faketensor"))


class Road(nn.Module):
    """Proposals of two levels, collected, distributed, pooled on their levels and brought back into their order."""

    def forward(self, fine: Tensor, coarse: Tensor, scores: Tensor, deltas: Tensor, im_info: Tensor) -> Tensor:
        rpn = operators()["GenerateProposals"]
        arguments = {"pre_nms_topN": 50, "post_nms_topN": 20, "min_size": 1.0, "legacy_plus_one": False}
        levels = [
            rpn(scores, deltas, im_info, ANCHORS, spatial_scale=1 / 8, **arguments),
            rpn(scores[:, :, ::2, ::2], deltas[:, :, ::2, ::2], im_info, ANCHORS, spatial_scale=1 / 16, **arguments),
        ]
        proposals = operators()["CollectRpnProposals"](
            [rois for rois, _ in levels] + [probabilities for _, probabilities in levels],
            rpn_max_level=3,
            rpn_min_level=2,
            rpn_post_nms_topN=25,
        )
        *per_level, restore = operators()["DistributeFpnProposals"](
            proposals, roi_max_level=4, roi_min_level=3, roi_canonical_scale=64, legacy_plus_one=False
        )
        pooled = [
            operators()["RoIAlign"](features, rois, spatial_scale=scale, pooled_h=2, pooled_w=2, aligned=True)
            for features, rois, scale in zip((fine, coarse), per_level, (1 / 8, 1 / 16), strict=True)
        ]
        return operators()["BatchPermutation"](torch.cat(pooled), restore)


def road_inputs(height: int, width: int) -> tuple[Tensor, ...]:
    im_info = torch.tensor([[height * 8.0, width * 8.0, 1.0]])
    fine, coarse = features(1, 4, height, width), features(1, 4, height // 2, width // 2)
    return fine, coarse, features(1, 2, height, width), features(1, 8, height, width) * 0.2, im_info


def test_operators_whose_counts_depend_on_data_chain_in_an_exported_program() -> None:
    height, width = Dim("h", min=2), Dim("w", min=2)
    whole, half = {2: 2 * height, 3: 2 * width}, {2: height, 3: width}
    program = torch.export.export(
        Road(), road_inputs(16, 20), dynamic_shapes=(whole, half, whole, whole, None), strict=False
    ).module()
    for inputs in (road_inputs(16, 20), road_inputs(30, 12), road_inputs(4, 4)):
        expected = Road()(*inputs)
        assert len(expected) > 0
        torch.testing.assert_close(program(*inputs), expected, rtol=0, atol=0)


def test_an_input_that_may_be_left_out_is_left_out_of_the_onnx_node() -> None:
    scores, boxes, _ = nms_inputs(20)
    module = Apply(operators()["BoxWithNMSLimit"], CASES["BoxWithNMSLimit"][0])
    exported_program = torch.export.export(module, (scores, boxes), dynamic_shapes=((ROWS, ROWS),), strict=False)
    program = torch.onnx.export(
        exported_program, dynamo=True, custom_translation_table=translations(), optimize=False, verbose=False
    )
    assert program is not None
    onnx.checker.check_model(program.model_proto)
    (node,) = [node for node in program.model_proto.graph.node if node.domain == ONNX_DOMAIN]
    assert len(node.input) == 2


@pytest.mark.parametrize("through", ["the custom op", "the kernel"])
@pytest.mark.parametrize("name", CASES)
def test_tensors_that_ask_for_gradients_are_taken(name: str, through: str) -> None:
    """As a detector's do, whose weights ask for gradients, where the caller does not say no_grad."""
    arguments, inputs, _, _ = CASES[name]
    asking = tuple(x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs)
    definition = operators()[name]
    call = definition if through == "the custom op" else definition.kernel
    outputs = call(list(asking), **arguments) if definition.takes_list else call(*asking, **arguments)
    expected = Apply(definition, arguments)(*inputs)
    for output, one_more in zip(outputs if isinstance(outputs, tuple) else (outputs,), expected, strict=True):
        torch.testing.assert_close(output.detach() + 1, one_more)
