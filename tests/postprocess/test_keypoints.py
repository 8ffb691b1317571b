import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roastery.postprocess import keypoints
from roastery.postprocess.keypoints import decode_keypoints


def heatmaps_with_peak(row, column, side=8, height=10.0):
    maps = torch.zeros(1, 1, side, side)
    maps[0, 0, row, column] = height
    return maps


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 5), (7, 7), (7, 0)])
def test_a_peak_in_a_cell_is_found_in_the_middle_of_its_pixel(row, column):
    # Closed form: a box as large as the heatmap is not stretched.
    found = decode_keypoints(heatmaps_with_peak(row, column), torch.tensor([[10.0, 20.0, 18.0, 28.0]]))
    assert found.shape == (1, 1, 3)
    assert found[0, 0, :2].tolist() == [10 + column + 0.5, 20 + row + 0.5]


def test_a_peak_is_found_within_its_cell_of_a_stretched_box():
    # A cell is 4 pixels wide and 2 high; of an even number of pixels none lies in its middle.
    found = decode_keypoints(heatmaps_with_peak(2, 5), torch.tensor([[100.0, 50.0, 132.0, 66.0]]))
    x, y = found[0, 0, :2].tolist()
    assert abs(x - (100 + 5.5 * 4)) == 0.5
    assert abs(y - (50 + 2.5 * 2)) == 0.5


def test_a_box_of_a_broken_side_is_stretched_to_whole_pixels_and_back():
    # 7.5 pixels are 8 of 7.5 / 8 each.
    found = decode_keypoints(heatmaps_with_peak(3, 6), torch.tensor([[1.25, 2.0, 8.75, 9.5]]))
    assert found[0, 0, :2].tolist() == [1.25 + 6.5 * 7.5 / 8, 2 + 3.5 * 7.5 / 8]


@pytest.mark.parametrize("side", [0.0, 0.25, -3.0])
def test_a_side_below_1_counts_as_1(side):
    found = decode_keypoints(heatmaps_with_peak(3, 6), torch.tensor([[5.0, 9.0, 5.0 + side, 9.0 + side]]))
    # One pixel, and its middle.
    assert found[0, 0, :2].tolist() == [5.5, 9.5]


def test_the_score_is_the_peaks_share_of_its_heatmap():
    maps = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    # As large as the heatmaps: the peak is one of their own numbers, so its share is its softmax.
    found = decode_keypoints(maps, torch.tensor([[0.0, 0.0, 6.0, 6.0]] * 3))
    torch.testing.assert_close(found[..., 2], maps.flatten(2).softmax(2).amax(2))


@pytest.mark.parametrize("side", [1.0, 4.0, 40.0])
def test_the_share_is_of_the_heatmap_before_it_was_stretched(side):
    # A flat one: each of its cells has a sixteenth, each of the pixels would have less.
    found = decode_keypoints(torch.zeros(1, 1, 4, 4), torch.tensor([[3.0, 5.0, 3.0 + side, 5.0 + side]]))
    assert found.tolist() == [[[3.5, 5.5, 1 / 16]]]


def test_the_heatmap_is_stretched_bicubically():
    # By hand: a quarter of a cell from the peak's middle on either side (a = -0.75).
    found = decode_keypoints(heatmaps_with_peak(3, 4, height=8.0), torch.tensor([[0.0, 0.0, 16.0, 16.0]]))
    t = 0.25
    peak = 8 * (1.25 * t**3 - 2.25 * t**2 + 1) ** 2
    share = 1 / (63 * math.exp(-peak) + math.exp(8 - peak))
    assert found[0, 0, 2].item() == pytest.approx(share, rel=1e-4)


def test_each_object_and_keypoint_has_its_own_heatmap_and_box():
    maps = torch.cat([heatmaps_with_peak(1, 2), heatmaps_with_peak(6, 0)]).reshape(1, 2, 8, 8)
    maps = torch.cat([maps, maps.flip(1)])
    found = decode_keypoints(maps, torch.tensor([[0.0, 0.0, 8.0, 8.0], [100.0, 0.0, 108.0, 8.0]]))
    assert found[..., :2].tolist() == [[[2.5, 1.5], [0.5, 6.5]], [[100.5, 6.5], [102.5, 1.5]]]


def test_no_object_has_no_keypoints():
    assert decode_keypoints(torch.zeros(0, 17, 56, 56), torch.zeros(0, 4)).shape == (0, 17, 3)


@given(st.integers(-200, 200), st.integers(-200, 200), st.integers(0, 2**31))
def test_a_box_that_is_shifted_has_its_keypoints_shifted(right, down, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 3, 7, 7, generator=generator)
    # In eighths, which float32 shifts without rounding.
    corners = torch.randint(-200, 200, (2, 2), generator=generator) / 8
    boxes = torch.cat([corners, corners + torch.randint(4, 300, (2, 2), generator=generator) / 8], dim=1)
    shift = torch.tensor([right, down], dtype=torch.float32)
    found, shifted = decode_keypoints(maps, boxes), decode_keypoints(maps, boxes + shift.repeat(2))
    torch.testing.assert_close(shifted[..., :2], found[..., :2] + shift, rtol=0, atol=1e-3)
    assert shifted[..., 2].equal(found[..., 2])
    # Inside of the box, of which no side is below 1.
    inside = found[..., :2] - boxes[:, None, :2]
    assert ((inside > 0) & (inside < (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)[:, None])).all()


@pytest.mark.parametrize("value", [1e6, 1e30, float("inf"), float("nan")])
def test_a_box_that_no_image_holds_is_refused_before_it_fills_the_memory(value):
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, value, 1000.0]])
    with pytest.raises(ValueError, match=r"to more than 2\^28 pixels together"):
        decode_keypoints(torch.zeros(2, 1, 4, 4), boxes)


def test_a_box_of_the_most_pixels_is_taken(monkeypatch):
    monkeypatch.setattr(keypoints, "MOST_PIXELS", 35)
    assert decode_keypoints(heatmaps_with_peak(0, 0), torch.tensor([[0.0, 0.0, 4.5, 7.0]])).shape == (1, 1, 3)
    with pytest.raises(ValueError, match="cannot be stretched"):
        decode_keypoints(heatmaps_with_peak(0, 0), torch.tensor([[0.0, 0.0, 5.5, 7.0]]))
    # Each keypoint has a heatmap of its own, and all of a box are stretched together.
    with pytest.raises(ValueError, match="2 heatmaps cannot be stretched"):
        decode_keypoints(torch.zeros(1, 2, 4, 4), torch.tensor([[0.0, 0.0, 4.5, 7.0]]))
