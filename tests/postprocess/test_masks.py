import numpy as np
import pytest
import torch

from roastery.postprocess.masks import paste_masks


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
