"""Which images a net is traced and compared on."""

import hashlib
from collections.abc import Sequence
from itertools import cycle, islice
from typing import TypeVar

from roastery.data.coco import CocoDataset, ImageRecord
from roastery.errors import DatasetError

Item = TypeVar("Item")


def in_batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    """The items in batches of `size`, in order; the last is filled up from the first item on."""
    endless = cycle(items)
    return [list(islice(endless, size)) for _ in range(-(-len(items) // size))]


def sample_images(dataset: CocoDataset, n: int, seed: int) -> tuple[ImageRecord, ...]:
    """`n` images of the dataset, or all of them where there are fewer, by rising id.

    The same images for the same seed everywhere and always: the order is that of a digest of seed and id, not of a
    generator that may change. A larger sample holds the smaller one.

    Raises:
        DatasetError: `n` is less than 1.
    """
    if n < 1:
        raise DatasetError(f"{dataset.name}: a sample of {n} images was asked for; ask for at least 1")

    def rank(image: ImageRecord) -> bytes:
        return hashlib.sha256(f"{seed}:{image.id}".encode()).digest()

    return tuple(sorted(sorted(dataset.images, key=rank)[:n], key=lambda image: image.id))
