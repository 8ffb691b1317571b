"""Cell anchors: their areas, ratios and order, and what of an anchor generator has no form here."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from yacs.config import CfgNode

from roastery.detectors.anchors import build_anchor_generator, cell_anchors
from roastery.detectors.backbone import ShapeSpec
from roastery.errors import ConfigError


def _config(**changes: object) -> CfgNode:
    node = CfgNode(
        {
            "NAME": "DefaultAnchorGenerator",
            "SIZES": [[32, 64]],
            "ASPECT_RATIOS": [[0.25, 1.0, 4.0]],
            "OFFSET": 0.0,
        }
    )
    node.update(changes)
    return CfgNode({"MODEL": {"ANCHOR_GENERATOR": node}})


def _levels(*strides: int) -> list[ShapeSpec]:
    return [ShapeSpec(stride=stride) for stride in strides]


def test_anchors_of_two_sizes_and_three_ratios_are_detectron2s() -> None:
    # Source: detectron2 0.5, tests/modeling/test_anchor_generator.py: its first cell, sizes 32 and 64.
    expected = torch.tensor(
        [
            [-32.0, -8.0, 32.0, 8.0],
            [-16.0, -16.0, 16.0, 16.0],
            [-8.0, -32.0, 8.0, 32.0],
            [-64.0, -16.0, 64.0, 16.0],
            [-32.0, -32.0, 32.0, 32.0],
            [-16.0, -64.0, 16.0, 64.0],
        ]
    )
    torch.testing.assert_close(cell_anchors([32, 64], [0.25, 1.0, 4.0]), expected)


@given(size=st.floats(4, 512), ratio=st.floats(0.1, 10), shift=st.floats(0, 32))
def test_an_anchor_has_the_area_and_the_ratio_asked_for_around_its_shift(
    size: float, ratio: float, shift: float
) -> None:
    ((x1, y1, x2, y2),) = cell_anchors([size], [ratio], shift).double().tolist()
    assert (x2 - x1) * (y2 - y1) == pytest.approx(size**2, rel=1e-3)
    assert (y2 - y1) / (x2 - x1) == pytest.approx(ratio, rel=1e-3)
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == (pytest.approx(shift, abs=1e-3), pytest.approx(shift, abs=1e-3))


def test_one_entry_of_sizes_serves_every_level() -> None:
    generator = build_anchor_generator(_config(), _levels(4, 8, 16))
    assert [len(boxes) for boxes in generator.cell_anchors] == [6, 6, 6]


def test_an_offset_is_a_part_of_each_levels_stride() -> None:
    plain = build_anchor_generator(_config(), _levels(4, 8)).cell_anchors
    moved = build_anchor_generator(_config(OFFSET=0.5), _levels(4, 8)).cell_anchors
    torch.testing.assert_close(moved, [plain[0] + 2.0, plain[1] + 4.0])


def test_anchors_are_in_no_state_dict() -> None:
    assert build_anchor_generator(_config(), _levels(4, 8)).state_dict() == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"NAME": "RotatedAnchorGenerator"}, "RotatedAnchorGenerator"),
        ({"SIZES": [[32], [64], [128]]}, "SIZES: 3 entries for 2 feature levels"),
        ({"SIZES": [[32], [64, 128]]}, "every level must have the same number"),
    ],
)
def test_a_generator_without_a_form_here_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_anchor_generator(_config(**changes), _levels(4, 8))
