import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from roastery.postprocess.masks import UnpastedMasks, masks_of, paste_masks, pasting_later


def random_case(seed, count, height, width):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * torch.tensor([width, height]) * 1.2 - 10
    sides = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    return torch.rand(count, 28, 28, generator=generator), torch.cat([corners, corners + sides], dim=1)


def test_a_full_map_fills_exactly_the_pixels_whose_middle_lies_in_the_box():
    # Beside the outermost cells' middles the value falls to 0; it is 0.5 at the border of the box.
    masks = torch.ones(1, 28, 28)
    pasted = paste_masks(masks, torch.tensor([[2.0, 3.0, 7.0, 5.0]]), (8, 9))
    expected = np.zeros((8, 9), bool)
    expected[3:5, 2:7] = True
    np.testing.assert_array_equal(pasted[0].numpy(), expected)


def test_a_pixel_at_the_threshold_is_set():
    # Closed form: a map of one value, sampled in its middle.
    masks = torch.full((1, 28, 28), 0.5)
    assert paste_masks(masks, torch.tensor([[0.0, 0.0, 28.0, 28.0]]), (28, 28))[0, 14, 14]
    assert not paste_masks(masks, torch.tensor([[0.0, 0.0, 28.0, 28.0]]), (28, 28), threshold=0.51).any()


def test_each_pixel_is_bilinear_between_the_cells_around_it():
    # Source: the definition, in double precision, pixel by pixel.
    masks, boxes = random_case(1, 3, 40, 50)
    pasted = paste_masks(masks, boxes, (40, 50))
    checked = 0
    for mask, (x0, y0, x1, y1), found in zip(masks.double().numpy(), boxes.double().tolist(), pasted, strict=True):
        padded = np.pad(mask, 1)
        for row in range(40):
            for column in range(50):
                y = np.clip((row + 0.5 - y0) / (y1 - y0) * 28 + 0.5, 0, 29)
                x = np.clip((column + 0.5 - x0) / (x1 - x0) * 28 + 0.5, 0, 29)
                i, j = min(int(y), 28), min(int(x), 28)
                v, u = y - i, x - j
                value = (1 - v) * ((1 - u) * padded[i, j] + u * padded[i, j + 1]) + v * (
                    (1 - u) * padded[i + 1, j] + u * padded[i + 1, j + 1]
                )
                if abs(value - 0.5) > 1e-4:
                    assert bool(found[row, column]) == (value >= 0.5)
                    checked += 1
    assert checked > 5000


@pytest.mark.parametrize("pixels_at_once", [1, 97, 4096])
def test_pasting_in_parts_gives_the_very_same_bits(pixels_at_once):
    masks, boxes = random_case(2, 6, 131, 173)
    whole = paste_masks(masks, boxes, (131, 173), pixels_at_once=1 << 30)
    assert whole.any()
    assert paste_masks(masks, boxes, (131, 173), pixels_at_once=pixels_at_once).equal(whole)


def test_pasting_some_masks_gives_the_bits_that_pasting_all_gives():
    masks, boxes = random_case(3, 7, 90, 60)
    whole = paste_masks(masks, boxes, (90, 60))
    assert paste_masks(masks[2:5], boxes[2:5], (90, 60)).equal(whole[2:5])


def test_a_box_beyond_the_image_leaves_an_empty_mask():
    pasted = paste_masks(
        torch.ones(2, 28, 28), torch.tensor([[90.0, 5.0, 99.0, 9.0], [0.0, -30.0, 9.0, -20.0]]), (50, 60)
    )
    assert pasted.shape == (2, 50, 60)
    assert not pasted.any()


def test_no_mask_is_pasted_into_no_mask_of_the_image_size():
    pasted = paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), (5, 7))
    assert pasted.shape == (0, 5, 7)
    assert pasted.dtype == torch.bool


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_box_that_is_no_box_is_refused(value):
    with pytest.raises(ValueError, match="cannot be pasted"):
        paste_masks(torch.ones(1, 28, 28), torch.tensor([[0.0, 0.0, value, 4.0]]), (8, 8))


def test_as_many_masks_as_boxes_are_needed():
    with pytest.raises(ValueError, match="2 masks for 1 boxes"):
        paste_masks(torch.ones(2, 28, 28), torch.zeros(1, 4), (8, 8))


def pasted_by_grid_sample(masks, boxes, image_size, threshold=0.5):
    """detectron2's way: every pixel around the box by `grid_sample`. Source: layers/mask_ops.py, _do_paste_mask."""
    height, width = image_size
    pasted = torch.zeros(len(masks), height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1), target in zip(masks, boxes, pasted, strict=True):
        left, top = max(math.floor(float(x0)) - 1, 0), max(math.floor(float(y0)) - 1, 0)
        right, bottom = min(math.ceil(float(x1)) + 1, width), min(math.ceil(float(y1)) + 1, height)
        if left >= right or top >= bottom:
            continue
        x = (torch.arange(left, right, dtype=torch.float32) + 0.5 - x0) / (x1 - x0) * 2 - 1
        y = (torch.arange(top, bottom, dtype=torch.float32) + 0.5 - y0) / (y1 - y0) * 2 - 1
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None].to(mask.dtype)
        target[top:bottom, left:right] = F.grid_sample(mask[None, None], grid, align_corners=False)[0, 0] >= threshold
    return pasted


@st.composite
def drawn_masks(draw):
    """Maps as they come (noise, smooth, near the threshold, at it), in boxes small and large, within and beyond."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    count, size = draw(st.integers(0, 4)), draw(st.sampled_from([1, 2, 7, 14, 28, 56]))
    noise = torch.randn(count, size, size, generator=generator)
    maps = draw(
        st.sampled_from(
            [
                torch.rand(count, size, size, generator=generator),
                (noise * 1e-3).sigmoid(),
                (noise * 1e-7).sigmoid(),
                (noise * 30).sigmoid(),
                torch.full((count, size, size), 0.5),
                (noise > 0).float(),
            ]
        )
    )
    height, width = draw(st.integers(1, 200)), draw(st.integers(1, 200))
    corners = (torch.rand(count, 2, generator=generator) * 1.4 - 0.2) * torch.tensor([width, height])
    largest = draw(st.sampled_from([0.01, 1.0, 30.0, 400.0]))
    sides = torch.rand(count, 2, generator=generator) * largest + draw(st.sampled_from([0.0, 1e-3, 5.0]))
    boxes = torch.cat([corners, corners + sides], dim=1)
    whole = draw(st.booleans())
    return maps, boxes.round() if whole else boxes, (height, width)


@given(drawn_masks(), st.sampled_from([0.5, 0.25, 1e-6, 1.0]), st.sampled_from([1, 300, 1 << 16]))
def test_every_pixel_is_to_the_bit_what_grid_sample_makes_it(drawn, threshold, pixels_at_once):
    masks, boxes, size = drawn
    pasted = paste_masks(masks, boxes, size, threshold, pixels_at_once)
    assert pasted.equal(pasted_by_grid_sample(masks, boxes, size, threshold))


@given(drawn_masks())
def test_run_lengths_are_those_that_pycocotools_makes_of_the_pasted_masks(drawn):
    masks, boxes, size = drawn
    pasted = pasted_by_grid_sample(masks, boxes, size)
    encoded = (
        mask_api.encode(np.asfortranarray(pasted.numpy().transpose(1, 2, 0).astype(np.uint8))) if len(masks) else []
    )
    assert UnpastedMasks(masks, boxes, size).run_lengths() == [each["counts"].decode("ascii") for each in encoded]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_maps_of_other_types_are_sampled_in_their_own(dtype):
    masks, boxes = random_case(4, 3, 40, 50)
    assert paste_masks(masks.to(dtype), boxes, (40, 50)).equal(pasted_by_grid_sample(masks.to(dtype), boxes, (40, 50)))


def test_a_map_with_infinities_and_nan_is_sampled_as_grid_sample_samples_it():
    masks, boxes = random_case(5, 3, 40, 50)
    masks[0, 3, 4], masks[1, 7, 7], masks[2, 2, 2] = float("nan"), float("inf"), 1e30
    assert paste_masks(masks, boxes, (40, 50)).equal(pasted_by_grid_sample(masks, boxes, (40, 50)))


def test_unpasted_masks_are_pasted_one_by_one_or_some_of_them():
    masks, boxes = random_case(6, 5, 40, 50)
    unpasted, whole = UnpastedMasks(masks, boxes, (40, 50)), paste_masks(masks, boxes, (40, 50))
    assert len(unpasted) == 5
    assert unpasted.paste().equal(whole)
    assert unpasted[3].equal(whole[3])
    assert unpasted[-1].equal(whole[-1])
    assert unpasted[1:3].paste().equal(whole[1:3])
    assert unpasted[torch.tensor([4, 0])].paste().equal(whole[[4, 0]])
    assert unpasted[torch.tensor([True, False, True, False, False])].paste().equal(whole[[0, 2]])


def test_masks_are_pasted_at_once_but_within_pasting_later():
    masks, boxes = random_case(7, 2, 40, 50)
    with pasting_later():
        unpasted = masks_of(masks, boxes, (40, 50))
    assert isinstance(unpasted, UnpastedMasks)
    assert masks_of(masks, boxes, (40, 50)).equal(unpasted.paste())


def test_a_box_that_is_no_box_is_refused_before_anything_is_pasted():
    with pytest.raises(ValueError, match="cannot be pasted"), pasting_later():
        masks_of(torch.ones(1, 28, 28), torch.tensor([[0.0, 0.0, float("nan"), 4.0]]), (8, 8))
