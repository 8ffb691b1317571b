import numpy as np
import pytest
from PIL import Image

from roastery.drawing.colours import INK, LIGHT
from roastery.drawing.detections import DrawnDetection, draw_detections
from roastery.drawing.scale import pens

RED, BLUE = (200, 0, 0), (0, 0, 200)
GREY = (100, 100, 100)


@pytest.fixture
def image():
    return Image.new("RGB", (600, 500), GREY)


def drawn(image, *found, size=None):
    """Pixels (H, W, 3)."""
    return np.asarray(draw_detections(image, found, size or image.size)).copy()


def detection(box=(100, 200, 300, 400), colour=RED, text="a", **fields):
    return DrawnDetection(text, colour, box, **fields)


def is_colour(pixels, colour):
    return (pixels == colour).all(axis=-1)


def test_a_boxs_outline_is_within_its_edges_and_nothing_else_changes(image):
    pixels = drawn(image, detection())

    for row, column in ((200, 100), (200, 299), (399, 100), (399, 299), (300, 100), (201, 250)):
        assert tuple(pixels[row, column]) == RED
    assert is_colour(pixels[202:398, 102:298], GREY).all()
    assert is_colour(pixels[400:], GREY).all()
    assert is_colour(pixels[:, 300:], GREY).all()
    assert is_colour(pixels[:, :100], GREY).all()


def test_an_enlarged_box_is_where_it_was(image):
    pixels = drawn(image, detection((10, 20, 30, 40)), size=(1200, 1000))

    assert tuple(pixels[40, 20]) == RED
    assert tuple(pixels[79, 59]) == RED
    assert is_colour(pixels[80:], GREY).all()


def test_a_box_at_the_border_is_seen_whole(image):
    pixels = drawn(image, detection((400, 300, 600, 500)))

    assert is_colour(pixels[300:, -1], RED).all()
    assert is_colour(pixels[-1, 400:], RED).all()


@pytest.mark.parametrize("zoom", [1, 2])
def test_a_mask_tints_inside_and_not_outside(image, zoom):
    mask = np.zeros((500, 600), bool)
    mask[220:380, 120:280] = True

    size = (600 * zoom, 500 * zoom)
    pixels = drawn(image, detection(mask=mask), size=size)[::zoom, ::zoom]

    # 0.6 of the grey and 0.4 of the red.
    assert is_colour(pixels[230:370, 130:270], (140, 60, 60)).all()
    assert tuple(pixels[220, 200]) == RED, "the edge is outlined"
    assert is_colour(pixels[202:218, 102:298], GREY).all()
    assert is_colour(pixels[382:398, 102:298], GREY).all()


def test_a_mask_without_a_pixel_changes_nothing(image):
    assert (drawn(image, detection(mask=np.zeros((500, 600), bool))) == drawn(image, detection())).all()


def test_a_keypoint_is_at_its_pixel_with_a_rim(image):
    points = np.array([[150.5, 250.5, 0.9], [250.2, 350.9, 0.01]], np.float32)

    pixels = drawn(image, detection(keypoints=points))

    radius = pens(image.size).dot
    for column, row in ((150, 250), (250, 350)):
        assert tuple(pixels[row, column]) == RED
        assert tuple(pixels[row, column + radius]) == LIGHT
        assert tuple(pixels[row, column + radius + 1]) == INK
        assert tuple(pixels[row, column + radius + 2]) == GREY
    assert tuple(pixels[300, 200]) == GREY, "no line joins them"


def test_bones_join_the_keypoints(image):
    points = np.array([[150, 250], [250, 350], [150, 350]], np.float32)

    pixels = drawn(image, detection(keypoints=points, bones=[(0, 1), (0, 9)]))

    assert tuple(pixels[300, 200]) == RED
    assert tuple(pixels[300, 150]) == GREY
    assert is_colour(pixels[295:305, 195:205], INK).any()


@pytest.mark.parametrize("far", [np.nan, np.inf, -np.inf, 3e38, -5000.0])
def test_points_and_boxes_that_are_nowhere_or_far_out_are_no_error(image, far):
    points = np.array([[far, 250, 1.0], [200, far, 1.0], [250, 350, 1.0]], np.float32)

    pixels = drawn(image, detection(keypoints=points, bones=[(0, 2), (1, 2)]), detection((far, far, 10, 10), BLUE))

    assert tuple(pixels[350, 250]) == RED


def test_the_surest_lies_over_the_others(image):
    mask = np.zeros((500, 600), bool)
    mask[220:380, 120:280] = True

    pixels = drawn(image, detection(colour=RED, mask=mask), detection(colour=BLUE, mask=mask))

    assert tuple(pixels[300, 100]) == RED
    assert tuple(pixels[220, 200]) == RED
    assert pixels[300, 200, 0] > pixels[300, 200, 2]


def test_classes_of_two_colours_are_seen_as_such(image):
    pixels = drawn(image, detection(colour=RED), detection((400, 200, 500, 400), colour=BLUE))

    assert tuple(pixels[300, 100]) == RED
    assert tuple(pixels[300, 400]) == BLUE


def test_nothing_found_is_the_image_itself(image):
    assert is_colour(drawn(image), GREY).all()


def test_labels_leave_keypoints_in_sight(image):
    """The place over the box is where the point is."""
    point = np.array([[110, 190]], np.float32)

    pixels = drawn(image, detection(text="a long name", keypoints=point))

    assert tuple(pixels[190, 110]) == RED
    assert tuple(pixels[190, 110 + pens(image.size).dot + 1]) == INK
