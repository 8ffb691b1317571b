"""Pasting: a small map of each detection becomes a mask of the image's size.

Source: detectron2 0.5, layers/mask_ops.py (paste_masks_in_image), whose result this gives pixel by pixel.

PyTorch's `grid_sample`, which detectron2 samples by, takes each pixel for itself. Rows and columns can be sampled one
after the other, at a fifth of the time, but not to the last bit: so the pixels near the threshold are sampled by
`grid_sample` all the same.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from roastery.postprocess.run_lengths import Region, run_lengths

MASK_THRESHOLD = 0.5
PIXELS_AT_ONCE = 1 << 16
"""Bounds the memory, and keeps what is sampled together in the cache."""

# Of rounding, in units of the map's size and its largest value: a place in the map is wrong by less than two units in
# its last place, 2.4e-7 of the map's size, and a value by less than twice that.
_ROUNDING = 4e-6
_later: ContextVar[bool] = ContextVar("_later", default=False)


def paste_masks(
    masks: Tensor,
    boxes: Tensor,
    image_size: tuple[int, int],
    threshold: float = MASK_THRESHOLD,
    pixels_at_once: int = PIXELS_AT_ONCE,
) -> Tensor:
    """Stretch each map over its box, bilinearly, and threshold it.

    A map's value lies in the middle of its cell, a pixel's in the middle of the pixel, and outside the map is 0. A box
    may reach over the image's border.

    Args:
        masks: (n, S, S) floating point, 0..1.
        boxes: (n, 4) float32, xyxy, pixels of the image.
        image_size: (height, width).
        threshold: a pixel is set where the value is at least this.
        pixels_at_once: how many pixels are sampled together. The result does not depend on it.

    Returns:
        (n, height, width) bool.
    """
    return UnpastedMasks(masks, boxes, image_size, threshold, pixels_at_once).paste()


class UnpastedMasks:
    """Masks of an image's size that are pasted when they are asked for: one by one, all, or as run lengths.

    Args: as of `paste_masks`.

    Raises:
        ValueError: not as many masks as boxes, or a box that is not finite.
    """

    def __init__(
        self,
        masks: Tensor,
        boxes: Tensor,
        image_size: tuple[int, int],
        threshold: float = MASK_THRESHOLD,
        pixels_at_once: int = PIXELS_AT_ONCE,
    ) -> None:
        if len(masks) != len(boxes):
            raise ValueError(f"{len(masks)} masks for {len(boxes)} boxes")
        for box in boxes[~boxes.isfinite().all(dim=1)].tolist() if len(boxes) else ():
            raise ValueError(f"a mask cannot be pasted into the box {tuple(box)}")
        self.masks, self.boxes, self.image_size = masks, boxes, image_size
        self.threshold, self.pixels_at_once = threshold, pixels_at_once

    def paste(self) -> Tensor:
        """(n, height, width) bool."""
        pasted = torch.zeros(len(self), *self.image_size, dtype=torch.bool)
        for target, region in zip(pasted.numpy(), self._regions(), strict=True):
            columns, rows = region.columns.shape
            target[region.top : region.top + rows, region.left : region.left + columns] = region.columns.T
        return pasted

    def run_lengths(self) -> list[str]:
        """COCO's compressed run lengths of each."""
        return run_lengths(self._regions(), self.image_size)

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int | slice | Tensor) -> "Tensor | UnpastedMasks":
        """One mask, (height, width) bool; or some of them, unpasted."""
        if isinstance(index, int):
            place = range(len(self))[index]
            return self._of(slice(place, place + 1)).paste()[0]
        return self._of(index)

    def _of(self, index: slice | Tensor) -> "UnpastedMasks":
        return UnpastedMasks(self.masks[index], self.boxes[index], self.image_size, self.threshold, self.pixels_at_once)

    def _regions(self) -> Iterator[Region]:
        return (
            _region(mask, box, self.image_size, self.threshold, self.pixels_at_once)
            for mask, box in zip(self.masks, self.boxes.numpy(), strict=True)
        )


@contextmanager
def pasting_later() -> Iterator[None]:
    """For as long, detections have `UnpastedMasks`: who only wants run lengths makes them without masks."""
    before = _later.set(True)
    try:
        yield
    finally:
        _later.reset(before)


def masks_of(masks: Tensor, boxes: Tensor, image_size: tuple[int, int]) -> Tensor | UnpastedMasks:
    """Masks of detections, pasted; or yet to be pasted, within `pasting_later`."""
    unpasted = UnpastedMasks(masks, boxes, image_size)
    return unpasted if _later.get() else unpasted.paste()


def _region(
    mask: Tensor, box: NDArray[np.float32], image_size: tuple[int, int], threshold: float, pixels_at_once: int
) -> Region:
    # A pixel beside the box samples between the map's outermost cells and 0; one further out samples 0.
    left, top, right, bottom = _pixels_around(box, *image_size)
    columns = np.zeros((max(right - left, 0), max(bottom - top, 0)), np.bool_)
    if not columns.size:
        return Region(0, 0, np.zeros((0, 0), np.bool_))
    # A box without width or height has no places.
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = _positions(left, right, box[0], box[2]), _positions(top, bottom, box[1], box[3])
    plain = mask.dtype == torch.float32 and all(bool(np.isfinite(each).all()) for each in (x, y, mask.numpy()))
    across = _AcrossRows(mask, y) if plain else None
    at_once = max(1, pixels_at_once // len(y))
    for start in range(0, len(x), at_once):
        part = slice(start, start + at_once)
        if across is None:
            places = np.broadcast_arrays(x[part, None], y)
            columns[part] = _exact(mask, places[0], places[1], threshold)
        else:
            across.threshold(x[part], threshold, columns[part])
    return Region(left, top, columns)


class _AcrossRows:
    """A map sampled at some rows; its columns are sampled by `threshold`.

    Args:
        mask: (S, S) float32, finite.
        y: (rows,) between -1 and 1 of the map.
    """

    def __init__(self, mask: Tensor, y: NDArray[np.float32]) -> None:
        self._mask, self._y = mask, y
        cells = mask.numpy()
        self._size = len(cells)
        bordered = np.zeros((self._size + 2, self._size + 2), np.float32)
        bordered[1:-1, 1:-1] = cells
        low, part = self._cells(y)
        # (cells of a row, rows)
        self._low = np.ascontiguousarray((bordered[low] + part[:, None] * (bordered[low + 1] - bordered[low])).T)
        self._step = np.diff(self._low, axis=0)
        self._margin = _ROUNDING * self._size * max(1.0, float(np.abs(cells).max()))

    def threshold(self, x: NDArray[np.float32], threshold: float, found: NDArray[np.bool_]) -> None:
        """Fill (columns, rows) for these columns."""
        low, part = self._cells(x)
        values = self._step[low]
        values *= part[:, None]
        values += self._low[low]
        values -= np.float32(threshold)
        np.greater_equal(values, 0, out=found)
        np.abs(values, out=values)
        columns, rows = np.nonzero(values <= self._margin)
        if len(columns):
            found[columns, rows] = _exact(self._mask, x[columns], self._y[rows], threshold)

    def _cells(self, positions: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The cell before each place, counted with a border of one, and how far it is to the next, 0..1."""
        places = np.clip(((positions + 1) * self._size + 1) / 2, 0, self._size + 1)
        low = np.minimum(places.astype(np.int64), self._size)
        return low, (places - low).astype(np.float32)


def _pixels_around(box: NDArray[np.float32], height: int, width: int) -> tuple[int, int, int, int]:
    """The pixels that a map over this box can reach: left, top, right, bottom, the last two exclusive."""
    x0, y0, x1, y1 = box.tolist()
    return (
        max(math.floor(x0) - 1, 0),
        max(math.floor(y0) - 1, 0),
        min(math.ceil(x1) + 1, width),
        min(math.ceil(y1) + 1, height),
    )


def _positions(start: int, stop: int, low: np.float32, high: np.float32) -> NDArray[np.float32]:
    """Where the pixels `start` to `stop` lie between `low` (-1) and `high` (1)."""
    pixels = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    positions: NDArray[np.float32] = (pixels - low) / (high - low) * np.float32(2) - np.float32(1)
    return positions


def _exact(mask: Tensor, x: NDArray[np.float32], y: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Whether detectron2 sets the pixels at these places, which have any shape."""
    grid = torch.from_numpy(np.stack((x, y), axis=-1)).to(mask.dtype)
    values: Tensor = F.grid_sample(mask[None, None], grid.reshape(1, -1, 1, 2), align_corners=False)
    found: NDArray[np.bool_] = (values >= threshold).numpy().reshape(x.shape)
    return found
