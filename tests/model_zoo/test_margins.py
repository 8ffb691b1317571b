"""Whatever a reference decides is seen, and how narrowly; the reference itself does not notice."""

import pytest
import torch

from model_zoo.margins import LEAST, watched
from roastery.reference import pooler, rcnn, retinanet
from roastery.structures import Boxes, Instances

BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.01], [20.0, 20.0, 30.0, 30.0]])


def test_an_iou_near_the_threshold_is_seen_and_what_is_kept_stays_the_same() -> None:
    scores, groups = torch.tensor([3.0, 2.0, 1.0]), torch.zeros(3, dtype=torch.int64)
    expected = rcnn.grouped_nms(BOXES, scores, groups, 0.5, -1)
    with watched(10) as decisions:
        assert rcnn.grouped_nms(BOXES, scores, groups, 0.5, -1).equal(expected)
    # The second lies in the first, and has 0.501 of its area.
    assert decisions.nearest["iou"] == pytest.approx(0.001, rel=1e-3)
    assert decisions.nearest["order"] == pytest.approx(1.0)
    assert [line.partition(":")[0] for line in decisions.too_near()] == ["iou"]
    assert rcnn.grouped_nms(BOXES, scores, groups, 0.5, -1).equal(expected)


def test_probabilities_are_compared_as_logarithms_and_boxes_of_other_groups_are_not() -> None:
    with watched() as decisions:
        retinanet.grouped_nms(BOXES, torch.tensor([0.5, 0.4, 0.1]), torch.tensor([0, 1, 2]), 0.5, 1)
    assert "iou" not in decisions.nearest
    assert decisions.nearest["top"] == pytest.approx(0.2231436)  # log(0.5 / 0.4)


def test_thresholds_cuts_points_and_peaks_are_seen_where_pytorch_is_asked() -> None:
    scores = torch.tensor([-1.0, 3.0, 2.5, 2.4])
    with watched() as decisions:
        _ = torch.tensor([0.0505, 0.9]) > 0.05
        _ = torch.tensor([0.0, 0.02]) > 0
        scores.topk(2)
        _ = torch.argsort(scores, descending=True, stable=True)[:1]
        torch.tensor([2.0, 3.25]).ceil()
        torch.tensor([[4.0, 3.0, 1.0]]).max(dim=1)
    assert decisions.nearest == pytest.approx(
        {"threshold": 0.01, "side": 0.02, "top": 0.1, "points": 0.25, "peak": 0.25}, rel=1e-5
    )
    assert decisions.too_near() == []
    assert set(decisions.nearest) < set(LEAST)


def test_a_box_between_two_levels_is_seen() -> None:
    # Of detectron2's canonical box, of 224 pixels, level 4 begins.
    side = 224 * 2**0.002
    with watched() as decisions:
        pooler.assign_levels(torch.tensor([[0.0, 0.0, side, side]]), 2, 5)
    assert decisions.nearest["level"] == pytest.approx(0.002, rel=1e-3)


@pytest.mark.parametrize(("times", "narrow"), [(1, []), (2, ["mask"])])
def test_a_mask_is_moved_as_many_times_as_far_as_it_must_be_wide(times: float, narrow: list[str]) -> None:
    """A map of one number shows whole, or, below a half, not at all."""
    masks = torch.full((1, 1, 28, 28), 0.5 + 7e-5)
    found = Instances((20, 20), pred_boxes=Boxes(BOXES[:1]), pred_masks=masks)
    with watched(times) as decisions:
        rcnn.resize_to_original(found, 20, 20)
    assert [line.partition(":")[0] for line in decisions.too_near()] == narrow
