import numpy as np
import pytest
from PIL import Image

from roastery.drawing.colours import LIGHT
from roastery.drawing.segments import DrawnSegment, draw_segments

GREY = (100, 100, 100)
RED, BLUE, GREEN = (200, 0, 0), (0, 0, 200), (0, 200, 0)
SEGMENTS = (
    DrawnSegment(7, "circle 0.90", RED, is_thing=True),
    DrawnSegment(9, "circle 0.80", BLUE, is_thing=True),
    DrawnSegment(2, "sky", GREEN, is_thing=False),
)


@pytest.fixture
def ids():
    """(400, 600): two things on stuff, and a strip of no segment below."""
    ids = np.full((400, 600), 2, np.int32)
    ids[50:250, 50:250] = 7
    ids[50:250, 250:500] = 9
    ids[350:] = 0
    return ids


def drawn(ids, segments=SEGMENTS, zoom=1):
    height, width = ids.shape
    picture = draw_segments(Image.new("RGB", (width, height), GREY), ids, segments, (width * zoom, height * zoom))
    return np.asarray(picture)[::zoom, ::zoom]


def is_colour(pixels, colour):
    return (pixels == colour).all(axis=-1)


def mixed(colour, strength):
    return tuple(round((1 - strength) * a + strength * b) for a, b in zip(GREY, colour, strict=True))


@pytest.mark.parametrize("zoom", [1, 2])
def test_each_segment_is_tinted_flat_and_what_is_of_none_is_left(ids, zoom):
    pixels = drawn(ids, zoom=zoom)

    assert tuple(pixels[60, 60]) == mixed(RED, 0.6)
    assert tuple(pixels[60, 450]) == mixed(BLUE, 0.6)
    assert tuple(pixels[20, 20]) == tuple(pixels[330, 580]) == mixed(GREEN, 0.45)
    assert is_colour(pixels[350:], GREY).all()


def test_things_are_outlined(ids):
    pixels = drawn(ids)

    assert is_colour(pixels[50, 50:500], LIGHT).all()
    assert is_colour(pixels[50:250, 249], LIGHT).all()
    assert is_colour(pixels[50:250, 250], LIGHT).all()


def test_where_two_meet_both_are_outlined_each_on_its_side_of_an_enlarged_edge(ids):
    pixels = np.asarray(draw_segments(Image.new("RGB", (600, 400), GREY), ids, SEGMENTS, (1200, 800)))

    edge = is_colour(pixels[120:480, 495:505], LIGHT).all(axis=0)
    assert (np.flatnonzero(edge) + 495).tolist() == [499, 500]


def test_each_is_labelled_once_in_itself(ids):
    pixels = drawn(ids)

    for colour, (top, bottom, left, right) in (
        (RED, (50, 250, 50, 250)),
        (BLUE, (50, 250, 250, 500)),
        # The picture's edge is outlined in the stuff's own colour.
        (GREEN, (1, 349, 1, 599)),
    ):
        inner = is_colour(pixels, colour)[1:349, 1:599]
        rows, columns = (at + 1 for at in np.nonzero(inner))
        if colour == GREEN:
            # But for its outline along the things and the strip.
            label = (rows > 260) & (rows < 345)
            rows, columns = rows[label], columns[label]
        assert len(rows) > 100
        assert top <= rows.min()
        assert rows.max() < bottom
        assert left <= columns.min()
        assert columns.max() < right
        assert rows.max() - rows.min() < 40, "one label"


def test_labels_of_segments_in_one_place_do_not_cover_each_other():
    """Rings around each other have the same middle."""
    ids = np.zeros((400, 600), np.int32)
    segments = []
    for number in range(1, 6):
        edge = 35 * (number - 1)
        ids[edge : 400 - edge, edge : 600 - edge] = number
        segments.append(DrawnSegment(number, "ring 0.90", (40 * number, 0, 255), is_thing=True))

    pixels = drawn(ids, segments)

    areas = [int(is_colour(pixels, segment.colour).sum()) for segment in segments]
    assert min(areas) > 0.95 * max(areas)


def test_a_large_segments_label_leaves_a_small_one_its_place():
    ids = np.full((200, 600), 1, np.int32)
    ids[90:110, 290:310] = 2
    segments = [DrawnSegment(1, "w" * 32, RED, is_thing=True), DrawnSegment(2, "small 0.90", BLUE, is_thing=True)]

    pixels = drawn(ids, segments)

    assert is_colour(pixels, BLUE).sum() > 500
    assert is_colour(pixels, RED).sum() > 500


def test_a_segment_of_a_pixel_and_one_of_none_are_no_error(ids):
    ids[399, 599] = 5
    segments = [*SEGMENTS, DrawnSegment(5, "dot", BLUE, is_thing=True), DrawnSegment(6, "gone", BLUE, is_thing=True)]

    assert tuple(drawn(ids, segments)[60, 60]) == mixed(RED, 0.6)


def test_no_segments_are_the_image_itself(ids):
    assert is_colour(drawn(ids, ()), GREY).all()
    assert is_colour(drawn(ids, (), zoom=2), GREY).all()
