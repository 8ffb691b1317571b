import torch
from yacs.config import CfgNode

from roastery.reference.anchors import base_anchors, grid_anchors


def config(sizes, ratios):
    return CfgNode({"MODEL": {"ANCHOR_GENERATOR": {"SIZES": sizes, "ASPECT_RATIOS": ratios}}})


def test_anchors_keep_the_area_and_the_ratio_of_height_to_width():
    (anchors,) = base_anchors(config([[32, 64]], [[0.5, 1.0, 2.0]]), 1)
    assert anchors.shape == (6, 4)
    sides = anchors[:, 2:] - anchors[:, :2]
    torch.testing.assert_close(sides.prod(dim=1), torch.tensor([32.0**2] * 3 + [64.0**2] * 3))
    torch.testing.assert_close(sides[:, 1] / sides[:, 0], torch.tensor([0.5, 1.0, 2.0] * 2))
    assert (anchors[:, :2] + anchors[:, 2:]).abs().max() < 1e-5


def test_each_level_has_its_sizes_and_one_list_of_ratios_serves_all():
    first, second = base_anchors(config([[8], [16]], [[1.0]]), 2)
    assert first.tolist() == [[-4.0, -4.0, 4.0, 4.0]]
    assert second.tolist() == [[-8.0, -8.0, 8.0, 8.0]]


def test_the_grid_runs_row_by_row_with_the_anchors_of_a_cell_together():
    base = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 2.0, 3.0]])
    anchors = grid_anchors(base, 2, 3, 4, 0.5)
    assert anchors.shape == (12, 4)
    assert anchors[0].tolist() == [2.0, 2.0, 3.0, 3.0]
    assert anchors[1].tolist() == [2.0, 2.0, 4.0, 5.0]
    assert anchors[2].tolist() == [6.0, 2.0, 7.0, 3.0]
    assert anchors[6].tolist() == [2.0, 6.0, 3.0, 7.0]
