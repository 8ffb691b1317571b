import numpy as np
import pytest
import torch
from yacs.config import CfgNode

from roastery.errors import ConfigError
from roastery.reference.pooler import assign_levels, pool
from roastery.reference.roi_align import roi_align


def node(kind="ROIAlignV2"):
    return CfgNode({"POOLER_TYPE": kind, "POOLER_RESOLUTION": 7, "POOLER_SAMPLING_RATIO": 0})


def test_boxes_go_to_the_levels_that_genuine_caffe2_distributes_them_to(caffe2_case):
    # Off the boundaries between levels; on them Caffe2 adds 1e-6 where detectron2 adds 1e-8.
    (rois,), outputs, arguments = caffe2_case("DistributeFpnProposals", "rois5")
    levels = assign_levels(
        torch.from_numpy(rois[:, -4:].copy()), arguments["roi_min_level"], arguments["roi_max_level"]
    )
    for level, expected in enumerate(outputs[:-1], start=arguments["roi_min_level"]):
        np.testing.assert_array_equal(rois[levels.numpy() == level], expected)


def test_a_box_of_224_pixels_lies_on_level_4():
    # Source: Lin et al., Feature Pyramid Networks, equation 1.
    boxes = torch.tensor([[0.0, 0.0, side, side] for side in (10, 111, 113, 223, 225, 449, 5000)])
    assert assign_levels(boxes, 2, 5).tolist() == [2, 2, 3, 3, 4, 5, 5]


def test_rows_stay_in_the_order_of_the_boxes_whatever_their_levels():
    levels = [torch.rand(256 // stride, 256 // stride, 4) for stride in (4, 8, 16, 32)]
    boxes = torch.tensor([[0.0, 0.0, 250.0, 250.0], [5.0, 5.0, 30.0, 40.0], [0.0, 0.0, 120.0, 120.0]])
    pooled = pool(node(), levels, [4, 8, 16, 32], boxes)
    for row, level in enumerate([2, 0, 1]):
        alone = roi_align(levels[level], boxes[row : row + 1], 7, 1 / (4 * 2**level), 0, True)
        assert pooled[row].equal(alone[0])


def test_one_level_takes_every_box():
    cells = torch.rand(16, 16, 4)
    boxes = torch.tensor([[0.0, 0.0, 250.0, 250.0], [5.0, 5.0, 30.0, 40.0]])
    assert pool(node("ROIAlign"), [cells], [16], boxes).equal(roi_align(cells, boxes, 7, 1 / 16, 0, False))


def test_another_pooler_is_refused():
    with pytest.raises(ConfigError, match="POOLER_TYPE: 'ROIPool'"):
        pool(node("ROIPool"), [torch.rand(4, 4, 1)], [4], torch.zeros(0, 4))
