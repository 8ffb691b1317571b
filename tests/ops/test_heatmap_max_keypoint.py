"""HeatmapMaxKeypoint beyond its golden cases."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roastery.errors import OperatorError
from roastery.ops import heatmap_max_keypoint


@given(st.floats(2.0, 6.0), st.floats(2.0, 6.0), st.floats(0.2, 2.0), st.floats(0.2, 2.0), st.floats(-0.15, 0.15))
def test_the_peak_of_a_paraboloid_is_found_between_the_cells(
    x: float, y: float, curve_x: float, curve_y: float, twist: float
) -> None:
    cells = torch.arange(9, dtype=torch.float64)
    dx, dy = cells[None, :] - x, cells[:, None] - y
    heatmap = 7 - curve_x * dx**2 - curve_y * dy**2 - twist * dx * dy
    box = torch.tensor([[10.0, 20.0, 10.0 + 18, 20.0 + 27]])
    keypoint = heatmap_max_keypoint(heatmap.float()[None, None], box)[0, :, 0]
    # A cell is 2 pixels wide and 3 high, and its centre lies at one half.
    expected = torch.tensor([10 + (x + 0.5) * 2, 20 + (y + 0.5) * 3, 7.0, 0.0])
    torch.testing.assert_close(keypoint, expected.float(), rtol=1e-3, atol=1e-2)


def test_the_probability_is_the_softmax_at_the_peak() -> None:
    heatmaps = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    keypoints = heatmap_max_keypoint(heatmaps, torch.tensor([[0.0, 0.0, 8.0, 8.0]] * 3), should_output_softmax=True)
    torch.testing.assert_close(keypoints[:, 3], heatmaps.flatten(2).softmax(2).amax(2))


def test_a_box_without_a_width_counts_as_one_pixel() -> None:
    heatmaps = torch.zeros(1, 1, 4, 4)
    heatmaps[0, 0, 1, 2] = 0.001
    # The peak is so low that it is not moved.
    x, y = heatmap_max_keypoint(heatmaps, torch.tensor([[5.0, 5.0, 5.0, 5.0]]))[0, :2, 0].tolist()
    assert (x, y) == (5 + 2.5 / 4, 5 + 1.5 / 4)


def test_a_heatmap_with_nan_is_refused() -> None:
    heatmaps = torch.zeros(2, 3, 4, 4)
    heatmaps[1, 2, 0, 0] = torch.nan
    with pytest.raises(OperatorError, match=r"^HeatmapMaxKeypoint: a heatmap holds NaN.*drop such boxes first"):
        heatmap_max_keypoint(heatmaps, torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("heatmaps", "boxes"), [((2, 3, 4, 5), (2, 4)), ((2, 3, 1, 1), (2, 4)), ((2, 3, 4, 4), (1, 4))]
)
def test_shapes_that_do_not_fit_are_refused(heatmaps: tuple[int, ...], boxes: tuple[int, ...]) -> None:
    with pytest.raises(OperatorError, match=r"^HeatmapMaxKeypoint: "):
        heatmap_max_keypoint(torch.zeros(heatmaps), torch.zeros(boxes))
