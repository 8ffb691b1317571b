"""RoIAlign beyond its golden cases: laws, layouts and limits."""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roastery.errors import OperatorError
from roastery.ops import roi_align

seeds = st.integers(0, 2**31)


@pytest.fixture(scope="session")
def boxes_inside(random_boxes: Callable[..., Any]) -> Callable[[int], torch.Tensor]:
    """`boxes_inside(seed)`: (12, 4) boxes that lie in a map of 40 x 60 cells."""

    def make(seed: int) -> torch.Tensor:
        boxes = torch.from_numpy(random_boxes(np.random.default_rng(seed), 12, 38, 58)) + 1
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 0.5)
        return boxes

    return make


def naive(features: torch.Tensor, box: list[float], bins: int, ratio: int, aligned: bool) -> torch.Tensor:
    """(C, bins, bins) of one box in cells, sample by sample."""
    offset = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (corner - offset for corner in box)
    width, height = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
    across, down = (ratio, ratio) if ratio > 0 else (math.ceil(width / bins), math.ceil(height / bins))
    pooled = torch.zeros(features.shape[0], bins, bins)
    for row in range(bins):
        for column in range(bins):
            for i in range(down):
                for j in range(across):
                    y = y1 + (row + (i + 0.5) / down) * height / bins
                    x = x1 + (column + (j + 0.5) / across) * width / bins
                    pooled[:, row, column] += sample(features, x, y) / (across * down)
    return pooled


def sample(features: torch.Tensor, x: float, y: float) -> torch.Tensor:
    _, height, width = features.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros(features.shape[0])
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    upper = features[:, top, left] * (1 - x + left) + features[:, top, right] * (x - left)
    lower = features[:, bottom, left] * (1 - x + left) + features[:, bottom, right] * (x - left)
    return upper * (1 - y + top) + lower * (y - top)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [-1, 0, 1, 2, 5])
def test_a_bin_is_the_mean_of_its_bilinear_samples(random_boxes: Callable[..., Any], ratio: int, aligned: bool) -> None:
    features = torch.randn(1, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    # Some lie partly or wholly outside.
    boxes = torch.from_numpy(random_boxes(np.random.default_rng(ratio + 1), 8, 25, 40)) - 4
    pooled = roi_align(features, boxes, pooled_h=3, pooled_w=3, sampling_ratio=ratio, aligned=aligned)
    for box, actual in zip(boxes.tolist(), pooled, strict=True):
        torch.testing.assert_close(actual, naive(features[0], box, 3, ratio, aligned), rtol=1e-4, atol=1e-5)


@given(seeds, st.sampled_from([0, 1, 2, 3]), st.booleans())
def test_a_constant_map_gives_the_constant(
    boxes_inside: Callable[[int], torch.Tensor], seed: int, ratio: int, aligned: bool
) -> None:
    pooled = roi_align(
        torch.full((1, 2, 40, 60), 3.0),
        boxes_inside(seed),
        pooled_h=5,
        pooled_w=4,
        sampling_ratio=ratio,
        aligned=aligned,
    )
    torch.testing.assert_close(pooled, torch.full((12, 2, 5, 4), 3.0))


@given(seeds)
def test_a_sloping_map_gives_the_slope_at_the_centre_of_each_bin(
    boxes_inside: Callable[[int], torch.Tensor], seed: int
) -> None:
    # Bilinear interpolation is exact on a plane, so the mean over a bin is the value at its centre.
    x = torch.arange(60.0).expand(40, 60)
    boxes = boxes_inside(seed)
    pooled = roi_align(x[None, None].contiguous(), boxes, pooled_h=1, pooled_w=4, sampling_ratio=0, aligned=True)
    centres = boxes[:, :1] - 0.5 + (boxes[:, 2:3] - boxes[:, :1]) * (torch.arange(4) + 0.5) / 4
    torch.testing.assert_close(pooled[:, 0, 0], centres, rtol=1e-4, atol=1e-3)


@given(seeds)
def test_the_order_of_boxes_is_the_order_of_outputs(boxes_inside: Callable[[int], torch.Tensor], seed: int) -> None:
    features = torch.randn(1, 2, 40, 60, generator=torch.Generator().manual_seed(1))
    boxes = boxes_inside(seed)
    arguments: dict[str, Any] = {"pooled_h": 3, "pooled_w": 3, "sampling_ratio": 0, "aligned": True}
    together = roi_align(features, boxes, **arguments)
    alone = torch.cat([roi_align(features, box[None], **arguments) for box in boxes])
    torch.testing.assert_close(together, alone)


@given(seeds)
def test_pooling_is_linear_in_the_features(boxes_inside: Callable[[int], torch.Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 1, 3, 40, 60, generator=generator)
    boxes = boxes_inside(seed)

    def pool(features: torch.Tensor) -> torch.Tensor:
        return roi_align(features, boxes, pooled_h=2, pooled_w=2, sampling_ratio=0, aligned=True)

    torch.testing.assert_close(pool(first + 2 * second), pool(first) + 2 * pool(second), rtol=1e-4, atol=1e-4)


def test_layouts_in_memory_do_not_matter() -> None:
    features = torch.randn(2, 5, 20, 30, generator=torch.Generator().manual_seed(2))
    rois = torch.tensor([[1.0, 2, 3, 15, 17], [0.0, 5, 5, 9, 29]])
    arguments: dict[str, Any] = {"pooled_h": 3, "pooled_w": 2, "aligned": True}
    expected = roi_align(features, rois, **arguments)
    assert expected.is_contiguous()
    for other in (features.contiguous(memory_format=torch.channels_last), features.transpose(2, 3).contiguous().mT):
        assert torch.equal(roi_align(other, rois, **arguments), expected)
    channels_last = roi_align(features.permute(0, 2, 3, 1), rois, order="NHWC", **arguments)
    assert torch.equal(channels_last, expected.permute(0, 2, 3, 1))


def test_many_boxes_of_all_sizes_are_pooled_in_pieces_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(1, 2, 50, 60, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(4)
    corners = torch.rand(200, 2, generator=generator) * 20
    boxes = torch.cat([corners, corners + torch.rand(200, 2, generator=generator) * 40], dim=1)
    arguments: dict[str, Any] = {"pooled_h": 2, "pooled_w": 2, "sampling_ratio": 0, "aligned": True}
    expected = roi_align(features, boxes, **arguments)
    # By its module, because the operator hides that under its own name.
    monkeypatch.setattr(sys.modules["roastery.ops.roi_align"], "_MAX_TAPS", 500)
    assert torch.equal(roi_align(features, boxes, **arguments), expected)


def test_roi_align_of_an_empty_roi_list_is_empty() -> None:
    pooled = roi_align(torch.zeros(1, 3, 8, 8), torch.zeros(0, 5), pooled_h=7, pooled_w=5)
    assert pooled.shape == (0, 3, 7, 5)


@pytest.mark.parametrize(
    ("rois", "arguments", "message"),
    [
        ([[0.0, 5, 0, 3, 2]], {"aligned": True}, "a RoI has a negative width or height"),
        ([[0.0, 0, math.nan, 3, 2]], {}, "a RoI is not finite"),
        ([[0.0, 0, 0, math.inf, 2]], {"aligned": True}, "a RoI is not finite"),
        ([[1.0, 0, 0, 3, 2]], {}, r"an image index lies outside \[0, 1\)"),
        ([[-1.0, 0, 0, 3, 2]], {}, r"an image index lies outside \[0, 1\)"),
        ([[0.0, 0, 0]], {}, r"rois \(1, 3\) must be \(n, 4\) or \(n, 5\)"),
        ([[0.0, 0, 0, 3, 2]], {"order": "CHWN"}, "order 'CHWN', must be NCHW or NHWC"),
    ],
)
def test_what_cannot_be_pooled_is_refused(rois: list[list[float]], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(OperatorError, match=f"^RoIAlign: {message}"):
        roi_align.kernel(torch.zeros(1, 2, 8, 8), torch.tensor(rois), **arguments)
