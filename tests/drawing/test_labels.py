import numpy as np
import pytest
from PIL import Image

from roastery.drawing.labels import Labels, label_text
from roastery.drawing.scale import pens

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)
SIZE = (480, 360)


@pytest.fixture
def picture():
    return Image.new("RGB", SIZE)


def labels(picture, seen=()):
    return Labels(picture, pens(SIZE), seen)


def extent(picture, colour):
    """Left, top, right, bottom (exclusive) of what has a colour; None where nothing has."""
    rows, columns = np.nonzero((np.asarray(picture) == colour).all(axis=-1))
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None


def test_a_label_lies_on_its_box(picture):
    labels(picture).on_box("square 0.90", RED, (100, 200, 300, 300))

    left, _, right, bottom = extent(picture, RED)
    assert (left, bottom) == (100, 200)
    assert right < 300
    assert (np.asarray(picture) == 255).all(axis=-1).any(), "nothing is written"


def test_a_label_stays_in_the_picture(picture):
    for colour, box in ((RED, (470, -20, 600, 500)), (BLUE, (-100, 500, 20, 900)), (GREEN, (200, 150, 300, 300))):
        labels(picture).on_box("square 0.90", colour, box)

    sizes = {
        (right - left, bottom - top) for left, top, right, bottom in (extent(picture, c) for c in (RED, BLUE, GREEN))
    }
    assert len(sizes) == 1, "each is whole"
    assert extent(picture, RED)[1:3] == (0, SIZE[0])
    assert extent(picture, BLUE)[::3] == (0, SIZE[1])


def test_labels_of_boxes_in_one_place_do_not_cover_each_other(picture):
    written = labels(picture)
    colours = [(40 * index + 20, 0, 200) for index in range(6)]
    for colour in colours:
        written.on_box("square", colour, (100, 100, 300, 300))

    places = [extent(picture, colour) for colour in colours]
    assert len({(right - left, bottom - top) for left, top, right, bottom in places}) == 1
    for index, one in enumerate(places):
        for other in places[:index]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_a_label_that_could_only_cover_others_is_left_out(picture):
    written = labels(picture)
    small = (100, 100, 104, 104)
    for _ in range(30):
        written.on_box("first", RED, small)
    before = picture.tobytes()

    written.on_box("last", BLUE, small)

    assert picture.tobytes() == before


def test_what_is_to_be_seen_is_covered_only_where_there_is_no_other_place(picture):
    over = (100, 150, 300, 200)
    labels(picture, seen=[over]).on_box("square", RED, (100, 200, 300, 300))
    labels(picture, seen=[(0, 0, *SIZE)]).on_box("square", BLUE, (100, 200, 300, 300))

    assert extent(picture, RED)[1] >= 200
    assert extent(picture, BLUE)[3] == 200


def test_a_label_has_its_middle_on_the_first_point_that_is_free(picture):
    written = labels(picture)
    written.on_points("sky", RED, [(100, 100), (300, 300)])
    written.on_points("sky", BLUE, [(104, 100), (300, 300)])
    written.on_points("sky", GREEN, [])

    for colour, middle in ((RED, (100, 100)), (BLUE, (300, 300))):
        left, top, right, bottom = extent(picture, colour)
        assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx(middle, abs=1)
    assert extent(picture, GREEN) is None


def test_the_text_is_one_short_line_whatever_the_name_is():
    assert label_text("circle", 0.987) == "circle 0.99"
    assert label_text("sky") == "sky"
    assert label_text("a\nb\x1b[2J\u202e\udcff", 0.5) == "a\ufffdb\ufffd[2J\ufffd\ufffd 0.50"
    assert label_text("x" * 500, 1.0) == f"{'x' * 31}… 1.00"
