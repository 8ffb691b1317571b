"""Labels: what is written on them, and where they go so that none covers another."""

from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw

from roastery.drawing.colours import Colour, ink_on
from roastery.drawing.scale import Pens

Corners = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the picture."""

_LONGEST = 32
"""Letters of a name: a longer one would hide the picture."""


def label_text(name: str, score: float | None = None) -> str:
    """A class's name and, where there is one, the score. The name is anybody's: it stays one line, and short."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    shown = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
    return shown if score is None else f"{shown} {score:.2f}"


class Labels:
    """The labels of one picture."""

    def __init__(self, picture: Image.Image, pens: Pens, seen: Sequence[Corners] = ()) -> None:
        """Start with none; what is `seen` is covered only where there is no other place."""
        self._seen = seen
        self._draw = ImageDraw.Draw(picture)
        self._size = picture.size
        self._font = pens.font
        # In proportion to the letters: 2 to the left and right of 14 pixels, 1 above.
        self._margin = max(pens.font_size // 7, 1)
        self._taken: list[Corners] = []

    def on_box(self, text: str, colour: Colour, box: Corners) -> None:
        """Write a label over its box, else in it or under it; not at all where others have taken every such place."""
        width, height = self._measure(text)
        left, top, right, bottom = box
        steps = range(1, max(int((bottom - top) / height), 1))
        heights = [top - height, top, bottom - height, bottom, *(top + step * height for step in steps)]
        self._write(text, colour, ((x, y) for y in heights for x in (left, right - width)))

    def on_points(self, text: str, colour: Colour, points: Iterable[tuple[float, float]]) -> None:
        """Write a label with its middle on the first of the points (x, y) where it covers no other."""
        width, height = self._measure(text)
        self._write(text, colour, ((x - width / 2, y - height / 2) for x, y in points))

    def _measure(self, text: str) -> tuple[int, int]:
        _, _, width, height = self._font.getbbox(text)
        return round(width) + 2 * self._margin, round(height) + 2 * self._margin

    def _write(self, text: str, colour: Colour, corners: Iterable[tuple[float, float]]) -> None:
        width, height = self._measure(text)
        lengths = (width, height)
        places: list[Corners] = []
        for corner in corners:
            bounds = zip(corner, self._size, lengths, strict=True)
            x, y = (round(min(max(at, 0), max(side - length, 0))) for at, side, length in bounds)
            places.append((x, y, x + width, y + height))
        free = [place for place in places if not _meets(place, self._taken)]
        if not free:
            return
        place = next((place for place in free if not _meets(place, self._seen)), free[0])
        self._taken.append(place)
        left, top, right, bottom = place
        self._draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
        self._draw.text((left + self._margin, top + self._margin // 2), text, fill=ink_on(colour), font=self._font)


def _meets(one: Corners, others: Iterable[Corners]) -> bool:
    return any(one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3] for other in others)
