from itertools import pairwise

import pytest

from roastery.drawing.colours import INK, LIGHT, ink_on, shade, stuff_colour, thing_colour


@pytest.mark.parametrize("colour_of", [thing_colour, stuff_colour])
def test_each_of_many_classes_has_a_colour_of_its_own(colour_of):
    colours = [colour_of(index) for index in range(80)]

    assert len(set(colours)) == 80
    assert all(0 <= channel <= 255 for colour in colours for channel in colour)
    # Neighbours are not alike.
    assert all(sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 60 for one, other in pairwise(colours))


def test_no_stuff_has_the_colour_of_a_thing():
    assert not {thing_colour(index) for index in range(80)} & {stuff_colour(index) for index in range(60)}


def test_the_first_instance_has_its_classs_colour_and_the_next_ones_others():
    colour = thing_colour(1)

    assert shade(colour, 0) == colour
    assert len({shade(colour, number) for number in range(6)}) == 6
    assert shade(colour, 7) == shade(colour, 1)
    assert all(lighter >= channel for lighter, channel in zip(shade(colour, 1), colour, strict=True))
    assert all(darker <= channel for darker, channel in zip(shade(colour, 2), colour, strict=True))


def test_writing_is_dark_on_bright_and_bright_on_dark():
    assert ink_on((255, 255, 200)) == INK
    assert ink_on((0, 60, 120)) == LIGHT
