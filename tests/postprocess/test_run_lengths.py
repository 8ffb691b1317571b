"""Expected texts are pycocotools' own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as mask_api

from roastery.postprocess.run_lengths import Region, run_lengths


def theirs(regions, height, width):
    masks = np.zeros((height, width, len(regions)), np.uint8, order="F")
    for index, region in enumerate(regions):
        columns, rows = region.columns.shape
        masks[region.top : region.top + rows, region.left : region.left + columns, index] = region.columns.T
    return [encoded["counts"].decode("ascii") for encoded in mask_api.encode(masks)]


@st.composite
def drawn_regions(draw):
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    regions = []
    for _ in range(draw(st.integers(0, 4))):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        # Often from edge to edge, where runs go on in the next column.
        top = draw(st.sampled_from([0, top]))
        rows = draw(st.sampled_from([height - top, draw(st.integers(1, height - top))]))
        shape = (draw(st.integers(1, width - left)), rows)
        fill = draw(st.sampled_from([st.booleans(), st.just(True), st.just(False)]))
        regions.append(Region(left, top, draw(arrays.arrays(np.bool_, shape, elements=fill))))
    return regions, height, width


@given(drawn_regions())
def test_run_lengths_of_regions_are_the_text_that_pycocotools_writes_of_the_masks(drawn):
    regions, height, width = drawn
    assert run_lengths(regions, (height, width)) == theirs(regions, height, width)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_runs_of_every_length_up_to_an_image_of_coco_are_written_as_pycocotools_writes_them(seed, share):
    generator = np.random.default_rng(seed)
    height, width = 480, 640
    flips = generator.random(height * width) < generator.choice([1e-5, 1e-4, 1e-2, share])
    mask = (np.cumsum(flips) % 2).astype(bool).reshape(width, height)
    assert run_lengths([Region(0, 0, mask)], (height, width)) == theirs([Region(0, 0, mask)], height, width)


def test_no_masks_have_no_run_lengths():
    assert run_lengths([], (4, 5)) == []


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_a_region_without_a_pixel_is_an_empty_mask(shape):
    assert run_lengths([Region(0, 0, np.zeros(shape, bool))], (3, 4)) == theirs([], 3, 4) + [
        mask_api.encode(np.zeros((3, 4), np.uint8, order="F"))["counts"].decode("ascii")
    ]
