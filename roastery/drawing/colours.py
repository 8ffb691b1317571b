"""The colours of classes, of the instances of one class, and of what is written over them."""

import colorsys

Colour = tuple[int, int, int]
"""Red, green, blue: 0..255."""

INK: Colour = (20, 20, 20)
LIGHT: Colour = (255, 255, 255)

_BRIGHT = 380
"""A colour whose channels add up to more has dark writing on it."""
# Okabe and Ito's colours, which the colour-blind tell apart; further classes go round the hues.
_VIVID = [(230, 159, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (213, 94, 0), (86, 180, 233)]
# Paul Tol's "light" ones, paler than any thing's: what is behind stays behind.
_PALE = [(119, 170, 221), (187, 204, 51), (255, 170, 187), (68, 187, 153), (238, 221, 136), (153, 221, 255)]
# How far the instances of a class go towards white (above 0) or black: one after the other, far from the last.
_SHADES = (0.0, 0.45, -0.35, 0.25, -0.2, 0.6)


def thing_colour(index: int) -> Colour:
    """The colour of a class of things, by its index from 0."""
    return _VIVID[index] if index < len(_VIVID) else _round_the_hues(index, 0.75, 0.85)


def stuff_colour(index: int) -> Colour:
    """The colour of a class of stuff, by its index from 0: paler than that of a thing."""
    return _PALE[index] if index < len(_PALE) else _round_the_hues(index, 0.35, 0.9)


def shade(colour: Colour, number: int) -> Colour:
    """The colour of a class for its instance of that number, from 0: the same hue, lighter or darker."""
    amount = _SHADES[number % len(_SHADES)]
    goal = LIGHT if amount > 0 else (0, 0, 0)
    red, green, blue = (round(a + (b - a) * abs(amount)) for a, b in zip(colour, goal, strict=True))
    return red, green, blue


def ink_on(colour: Colour) -> Colour:
    """What can be read on it: dark or white."""
    return INK if sum(colour) > _BRIGHT else LIGHT


def _round_the_hues(index: int, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)
