"""Which images a net is traced and compared on."""

import hashlib

from roastery.data.coco import CocoDataset, ImageRecord
from roastery.errors import DatasetError


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
