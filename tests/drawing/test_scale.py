import pytest
from PIL import Image

from roastery.drawing.scale import fitted_size, pens, readable_size, resized


@pytest.mark.parametrize(
    ("size", "expected"),
    [((160, 120), (480, 360)), ((120, 160), (360, 480)), ((480, 10), (480, 10)), ((2000, 1500), (2000, 1500))],
)
def test_a_small_image_is_enlarged_and_a_large_one_left(size, expected):
    assert readable_size(size) == expected


def test_a_thin_image_keeps_a_pixel():
    assert fitted_size((5000, 1), 100) == (100, 1)


def test_lines_dots_and_letters_grow_with_the_picture():
    small, large = pens((480, 360)), pens((1500, 2000))

    assert (small.line, small.dot, small.font_size) == (2, 3, 14)
    assert large.line == 5
    assert large.dot > 2 * small.dot
    assert large.font_size > 2 * small.font_size
    assert large.font.getbbox("circle 0.90")[2] > 2 * small.font.getbbox("circle 0.90")[2]


def test_an_image_of_that_size_is_given_back_itself():
    image = Image.new("RGB", (4, 3))

    assert resized(image, (4, 3)) is image
    assert resized(image, (8, 6)).size == (8, 6)
