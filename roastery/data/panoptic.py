"""COCO panoptic ground truth as it lies on the disk: segments and semantic labels, checked before they are used.

Source: detectron2 0.5, data/datasets/coco_panoptic.py (`register_coco_panoptic_separated`), and cocodataset.org's
panoptic format.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roastery.data.coco import ImageRecord, image_records
from roastery.data.coco_files import check_files, digest_of
from roastery.data.coco_json import category_names, entries_of, is_file_name, malformed, read_json
from roastery.data.label_png import IGNORED, read_labels, read_png
from roastery.errors import DatasetError

VOID = 0
"""The segment id of pixels that belong to no segment."""
THINGS = "things"
"""The name of label 0, which stands for all things."""

_MAX_ID = (1 << 24) - 1


@dataclass(frozen=True)
class PanopticCategory:
    """A category of things, which are counted, or of stuff, which is not."""

    id: int
    name: str
    isthing: bool


@dataclass(frozen=True)
class PanopticImage:
    """One image's ground truth: its size in pixels, its two PNGs, and what its segment ids stand for."""

    id: int
    height: int
    width: int
    mask: Path
    labels: Path
    segments: tuple[Mapping[str, int], ...]
    """{"id", "category_id", "iscrowd"} each."""


@dataclass(frozen=True)
class PanopticTruth:
    """Images with annotations in COCO's panoptic format, and semantic labels beside them.

    As detectron2 has it, a thing class i is the i-th thing category by rising id; of semantic labels 0 stands for all
    things, and k >= 1 for the k-th stuff category by rising id.
    """

    annotations: Path
    masks: Path
    """Folder of the PNGs whose pixels are segment ids, R + 256 G + 65536 B."""
    sem_seg: Path
    """Folder of the PNGs whose pixels are labels."""
    categories: tuple[PanopticCategory, ...]
    """By rising id."""
    images: tuple[PanopticImage, ...]
    """By rising id."""

    @property
    def thing_ids(self) -> tuple[int, ...]:
        """Thing class to category id."""
        return tuple(category.id for category in self.categories if category.isthing)

    @property
    def stuff_ids(self) -> tuple[int, ...]:
        """Rising: label k is category k - 1 of them."""
        return tuple(category.id for category in self.categories if not category.isthing)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Semantic label to name."""
        return THINGS, *(category.name for category in self.categories if not category.isthing)

    @property
    def image_ids(self) -> tuple[int, ...]:
        """Rising."""
        return tuple(image.id for image in self.images)

    @cached_property
    def digest(self) -> str:
        """sha256 over the annotations' and every PNG's bytes, whatever the folders are called; read when asked for.

        Raises:
            DatasetError: a file that cannot be read.
        """
        return digest_of((self.annotations, *(path for image in self.images for path in (image.mask, image.labels))))

    def image(self, image_id: int) -> PanopticImage:
        """The image of this id.

        Raises:
            DatasetError: there is none.
        """
        image = self._by_id.get(image_id)
        if image is None:
            raise DatasetError(f"{self.annotations}: no image with id {image_id}; take the annotations of these images")
        return image

    def segments(self, image_id: int) -> tuple[NDArray[np.int64], list[dict[str, Any]]]:
        """An image's segment ids (H, W), 0 where there is none, and {"id", "category_id", "iscrowd"} of each segment.

        Raises:
            DatasetError: no such image; a PNG that cannot be read, has another size, or other ids than its annotation.
        """
        image = self.image(image_id)
        pixels = read_png(image.mask, image.height, image.width, {"RGB"})
        ids = pixels[..., 2].astype(np.int64)
        for channel in (1, 0):
            ids <<= 8
            ids |= pixels[..., channel]
        drawn, named = {*np.unique(ids).tolist()} - {VOID}, {segment["id"] for segment in image.segments}
        for found, problem in ((drawn - named, "which its 'segments_info' lacks"), (named - drawn, "without a pixel")):
            if found:
                malformed(self.annotations, f"{image.mask} of image {image_id} has segment {min(found)} {problem}")
        return ids, [dict(segment) for segment in image.segments]

    def labels(self, image_id: int) -> NDArray[np.uint8]:
        """An image's semantic labels (H, W), 255 where the pixel does not count.

        Raises:
            DatasetError: no such image; a PNG that cannot be read, has another size, or a label of no stuff category.
        """
        image = self.image(image_id)
        known = (
            f"{self.annotations} has {len(self.stuff_ids)} stuff categories; label things 0, stuff from 1 on, and 255 "
            "what does not count"
        )
        return read_labels(image.labels, image.height, image.width, len(self.label_names), known)

    @cached_property
    def _by_id(self) -> Mapping[int, PanopticImage]:
        return {image.id: image for image in self.images}


def load_panoptic(
    annotations: Path, masks: Path, sem_seg: Path, *, decode: bool = True, links_into: Path | None = None
) -> PanopticTruth:
    """The ground truth of `annotations`, COCO's panoptic JSON.

    Args:
        masks: the folder of the PNGs that the annotations name.
        sem_seg: the folder of the label PNGs, each called as its image, with the suffix .png.
        decode: whether every PNG is decoded and checked now. `segments` and `labels` check the one that they read.
        links_into: links among the PNGs may lead there too.

    Raises:
        DatasetError: JSON that is missing or malformed; an image without its annotation, or an annotation of an unknown
            image or category; a PNG that is missing, damaged, outside its folder, or not what the annotations say.
    """
    for folder in (masks, sem_seg):
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder of PNGs (annotations {annotations}); correct the path")
    content = read_json(annotations)
    categories = _categories(content, annotations)
    records = image_records(content, sem_seg, annotations)
    named = _annotations_by_image(content, records, annotations)
    known = {category.id for category in categories}
    images = tuple(_image(record, named[record.id], masks, known, annotations) for record in records)
    check_files([(image.id, image.mask) for image in images], masks, annotations, links_into)
    check_files([(image.id, image.labels) for image in images], sem_seg, annotations, links_into)
    truth = PanopticTruth(annotations, masks, sem_seg, categories, images)
    for image_id in truth.image_ids if decode else ():
        truth.segments(image_id)
        truth.labels(image_id)
    return truth


def _categories(content: Mapping[str, Any], path: Path) -> tuple[PanopticCategory, ...]:
    names = category_names(content, path)
    for category in content["categories"]:
        if category.get("isthing") not in (0, 1):
            malformed(path, f"category {category['id']} ({names[category['id']][:80]}) has no 'isthing' of 0 or 1")
    made = (PanopticCategory(entry["id"], entry["name"], entry["isthing"] == 1) for entry in content["categories"])
    categories = tuple(sorted(made, key=lambda category: category.id))
    labels = [THINGS, *(category.name for category in categories if not category.isthing)]
    if len(labels) > IGNORED:
        malformed(path, f"it has {len(labels) - 1} stuff categories, but labels of 8 bits have room for {IGNORED - 1}")
    # A figure is named after its label.
    twice = next((name for index, name in enumerate(labels) if name in labels[:index]), None)
    if twice is not None:
        malformed(path, f"two semantic labels have the name {twice[:80]!r} (label 0 is {THINGS!r})")
    return categories


def _annotations_by_image(
    content: Mapping[str, Any], records: tuple[ImageRecord, ...], path: Path
) -> dict[int, Mapping[str, Any]]:
    """Each image's one annotation."""
    known = {record.id for record in records}
    named: dict[int, Mapping[str, Any]] = {}
    for entry in entries_of(content, "annotations", path):
        image_id = entry.get("image_id")
        if type(image_id) is not int or image_id not in known:
            malformed(path, f"an annotation names the image {str(image_id)[:40]!r}, which is not in 'images'")
        if image_id in named:
            malformed(path, f"image {image_id} has two annotations")
        named[image_id] = entry
    for image_id in sorted(known - named.keys()):
        malformed(path, f"image {image_id} has no annotation")
    return named


def _image(
    record: ImageRecord, annotation: Mapping[str, Any], masks: Path, category_ids: set[int], path: Path
) -> PanopticImage:
    name, segments = annotation.get("file_name"), annotation.get("segments_info")
    if not is_file_name(name):
        malformed(path, f"the annotation of image {record.id} has no file_name")
    if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
        malformed(path, f"the annotation of image {record.id} has no 'segments_info', a list of objects")
    seen: set[int] = set()
    for segment in segments:
        problem = _problem(segment, seen, category_ids)
        if problem:
            malformed(path, f"a segment of image {record.id} {problem}")
        seen.add(segment["id"])
    kept = tuple({key: int(segment[key]) for key in ("id", "category_id", "iscrowd")} for segment in segments)
    labels = record.path.parent / f"{record.path.stem}.png"
    return PanopticImage(record.id, record.height, record.width, masks / name, labels, kept)


def _problem(segment: Mapping[str, Any], seen: set[int], category_ids: set[int]) -> str | None:
    """What is wrong with it."""
    identity, category = segment.get("id"), segment.get("category_id")
    if type(identity) is not int or not VOID < identity <= _MAX_ID:
        return f"has the id {str(identity)[:40]!r}, not an integer of 1 to {_MAX_ID}"
    if identity in seen:
        return f"has the id {identity}, as another has"
    if type(category) is not int or category not in category_ids:
        return f"({identity}) names the category {str(category)[:40]!r}, which is not in 'categories'"
    return None if segment.get("iscrowd") in (0, 1) else f"({identity}) has no 'iscrowd' of 0 or 1"
