"""Semantic ground truth: a label for each pixel, without segments."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roastery.data.coco import CocoDataset, Content, ImageRecord
from roastery.data.coco_files import digest_of
from roastery.data.label_png import read_labels
from roastery.data.panoptic import PanopticCategory
from roastery.errors import DatasetError
from roastery.spec import Format


@dataclass(frozen=True)
class LabelledImage:
    """One image's size in pixels, and the PNG of its labels."""

    id: int
    height: int
    width: int
    labels: Path


@dataclass(frozen=True)
class SemSegTruth:
    """Images with semantic labels 0, 1, ..., and 255 where a pixel does not count."""

    annotations: Path
    """Folder of the PNGs."""
    label_names: tuple[str, ...]
    """Label to name."""
    images: tuple[LabelledImage, ...]
    """By rising id."""

    @property
    def categories(self) -> tuple[PanopticCategory, ...]:
        """Of segments, of which there are none."""
        return ()

    @property
    def thing_ids(self) -> tuple[int, ...]:
        """None."""
        return ()

    @property
    def stuff_ids(self) -> tuple[int, ...]:
        """None."""
        return ()

    @property
    def image_ids(self) -> tuple[int, ...]:
        """Rising."""
        return tuple(image.id for image in self.images)

    @cached_property
    def digest(self) -> str:
        """sha256 over every PNG's bytes; read when asked for.

        Raises:
            DatasetError: a file that cannot be read.
        """
        return digest_of(image.labels for image in self.images)

    def image(self, image_id: int) -> LabelledImage:
        """The image of this id.

        Raises:
            DatasetError: there is none.
        """
        image = self._by_id.get(image_id)
        if image is None:
            raise DatasetError(f"{self.annotations}: no image with id {image_id}; take the labels of these images")
        return image

    def labels(self, image_id: int) -> NDArray[np.uint8]:
        """An image's labels (H, W), 255 where the pixel does not count.

        Raises:
            DatasetError: no such image; a PNG that cannot be read, has another size, or a label without a name.
        """
        image = self.image(image_id)
        known = f"there are {len(self.label_names)} classes; label what does not count 255"
        return read_labels(image.labels, image.height, image.width, len(self.label_names), known)

    @cached_property
    def _by_id(self) -> Mapping[int, LabelledImage]:
        return {image.id: image for image in self.images}


def labelled_dataset(
    name: str,
    images: Path,
    annotations: Path,
    records: tuple[ImageRecord, ...],
    truths: tuple[Path, ...],
    label_names: tuple[str, ...],
    format: Format,
    *,
    decode: bool,
) -> CocoDataset:
    """A dataset of no instances and no categories, whose images have each a PNG of labels.

    Args:
        decode: whether every PNG is decoded and checked now, or when its labels are asked for.

    Raises:
        DatasetError: a PNG that is none, or has a label without a name.
    """
    labelled = (
        LabelledImage(record.id, record.height, record.width, path)
        for record, path in zip(records, truths, strict=True)
    )
    truth = SemSegTruth(annotations, label_names, tuple(labelled))
    for image_id in truth.image_ids if decode else ():
        truth.labels(image_id)
    content: Content = {"images": image_entries(records, images), "annotations": [], "categories": []}
    return CocoDataset(
        name,
        images,
        annotations,
        records,
        (),
        (),
        sem_seg=truth,
        format=format,
        sources=truths,
        convert=lambda: content,
    )


def image_entries(records: tuple[ImageRecord, ...], images: Path) -> list[dict[str, Any]]:
    """Images below a folder as COCO's JSON has them."""
    return [
        {
            "id": record.id,
            "file_name": record.path.relative_to(images).as_posix(),
            "height": record.height,
            "width": record.width,
        }
        for record in records
    ]
