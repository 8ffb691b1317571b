"""A COCO dataset as it lies on the disk: images and their annotations, checked before anything is run on them.

Source: detectron2/data/datasets/coco.py (`load_coco_json`), for the order of images and the class indices.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roastery.data.coco_annotations import check_annotations
from roastery.data.coco_files import check_files, digest_of
from roastery.data.coco_json import category_names, check_ids, entries_of, is_file_name, malformed, read_json
from roastery.errors import DatasetError

if TYPE_CHECKING:
    from roastery.data.panoptic import PanopticTruth
    from roastery.data.proposals import ProposalFile

MAX_SIDE = 65535
"""JPEG's largest. pycocotools counts an image's pixels in 32 bits."""


@dataclass(frozen=True)
class ImageRecord:
    """One image of a dataset: its file, and its size in pixels as the annotations say it."""

    id: int
    path: Path
    height: int
    width: int


@dataclass(frozen=True)
class CocoDataset:
    """Images with annotations in COCO's format."""

    name: str
    folder: Path
    annotations: Path
    images: tuple[ImageRecord, ...]
    """By rising id, the order in which detectron2 evaluates."""
    category_ids: tuple[int, ...]
    """Rising: a model's class index to COCO's category id."""
    class_names: tuple[str, ...]
    """A model's class index to its name."""
    panoptic: "PanopticTruth | None" = None
    """The same images' segments, where they are annotated too."""
    proposals: "ProposalFile | None" = None
    """The same images' proposals, where they were made before."""

    @cached_property
    def digest(self) -> str:
        """sha256 over the annotations' and every image's bytes, whatever the folder is called; read when asked for.

        Raises:
            DatasetError: a file that cannot be read.
        """
        own = digest_of((self.annotations, *(image.path for image in self.images)))
        beside = "".join(each.digest for each in (self.panoptic, self.proposals) if each is not None)
        return hashlib.sha256((own + beside).encode()).hexdigest() if beside else own


def load_coco(name: str, images: Path, annotations: Path) -> CocoDataset:
    """The dataset whose images lie in the folder `images`.

    Args:
        annotations: COCO's JSON. Without annotations in it, it can be sampled from, but there is nothing to measure.

    Raises:
        DatasetError: JSON that is missing, malformed or without images or categories; an id that occurs twice; an
            annotation of an unknown image or category; an image that is missing, or that lies outside its folder.
    """
    if not images.is_dir():
        raise DatasetError(f"{images}: no such folder of images (dataset {name}); correct the path")
    content = read_json(annotations)
    names = category_names(content, annotations)
    records = image_records(content, images, annotations)
    check_files([(record.id, record.path) for record in records], images, annotations)
    sizes = {record.id: (record.height, record.width) for record in records}
    given = content.get("annotations", [])
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        malformed(annotations, "'annotations' is not a list of objects")
    check_ids(given, "annotations", annotations)
    check_annotations(given, sizes, names.keys(), annotations)
    category_ids = tuple(sorted(names))
    return CocoDataset(
        name, images, annotations, records, category_ids, tuple(names[category] for category in category_ids)
    )


def image_records(content: Mapping[str, Any], folder: Path, annotations: Path) -> tuple[ImageRecord, ...]:
    """The images of COCO's JSON, by rising id, with the files that they name in the folder.

    Raises:
        DatasetError: no images, an id that is no integer or occurs twice, or an image without file_name or size.
    """
    entries = entries_of(content, "images", annotations)
    check_ids(entries, "images", annotations)
    return tuple(sorted((_record(entry, folder, annotations) for entry in entries), key=lambda record: record.id))


def _record(entry: Mapping[str, Any], folder: Path, path: Path) -> ImageRecord:
    name, height, width = entry.get("file_name"), entry.get("height"), entry.get("width")
    if not is_file_name(name):
        malformed(path, f"image {entry['id']} has no file_name")
    if type(height) is not int or type(width) is not int or not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        malformed(path, f"image {entry['id']} ({name[:80]}) has no height and width in pixels, 1 to {MAX_SIDE}")
    return ImageRecord(entry["id"], folder / name, height, width)
