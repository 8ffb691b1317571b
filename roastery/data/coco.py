"""A COCO dataset as it lies on the disk: images and their annotations, checked before anything is run on them.

Source: detectron2/data/datasets/coco.py (`load_coco_json`), for the order of images and the class indices.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roastery.data.coco_annotations import check_annotations
from roastery.data.coco_files import check_files, digest_of
from roastery.data.coco_json import category_names, check_ids, entries_of, is_file_name, malformed, read_json
from roastery.errors import DatasetError
from roastery.spec import Format

if TYPE_CHECKING:
    from roastery.data.panoptic import PanopticTruth
    from roastery.data.proposals import ProposalFile
    from roastery.data.sem_seg import SemSegTruth

Content = Mapping[str, Any]
"""What COCO's JSON holds: "images", "annotations" and "categories"."""

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
    """Images with annotations in COCO's format, or in one that `content` gives in COCO's."""

    name: str
    folder: Path
    annotations: Path
    """What they are read from: COCO's JSON, or another format's file or folder."""
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
    sem_seg: "SemSegTruth | None" = None
    """The same images' semantic labels, of a dataset that has nothing else."""
    format: Format = "coco"
    sources: tuple[Path, ...] = ()
    """The files that the annotations lie in, where it is not `annotations`."""
    convert: Callable[[], Content] | None = field(default=None, compare=False)
    """Reads annotations that are not in COCO's format, as COCO's JSON would have them."""

    @property
    def is_federated(self) -> bool:
        """Whether each image was searched for some categories alone, as LVIS's are."""
        return self.format == "lvis"

    @cached_property
    def content(self) -> Content:
        """The annotations as COCO's JSON has them; read when asked for, since most need no more than the images.

        Raises:
            DatasetError: they cannot be read any more.
        """
        return read_json(self.annotations) if self.convert is None else self.convert()

    @cached_property
    def digest(self) -> str:
        """sha256 over the annotations' and every image's bytes, whatever the folder is called; read when asked for.

        Raises:
            DatasetError: a file that cannot be read.
        """
        own = digest_of((*(self.sources or (self.annotations,)), *(image.path for image in self.images)))
        # The same JSON as COCO's and as LVIS's is measured in two ways.
        others: list[str] = [self.format] if self.format != "coco" else []
        others += [truth.digest for truth in (self.panoptic, self.sem_seg, self.proposals) if truth is not None]
        return hashlib.sha256((own + "".join(others)).encode()).hexdigest() if others else own


def load_coco(name: str, images: Path, annotations: Path, links_into: Path | None = None) -> CocoDataset:
    """The dataset whose images lie in the folder `images`.

    Args:
        annotations: COCO's JSON. Without annotations in it, it can be sampled from, but there is nothing to measure.
        links_into: links among the images may lead there too.

    Raises:
        DatasetError: JSON that is missing, malformed or without images or categories; an id that occurs twice; an
            annotation of an unknown image or category; an image that is missing, or that lies outside its folder.
    """
    require_folder(name, images)
    content = read_json(annotations)
    dataset = dataset_of(name, images, annotations, content)
    check_files([(record.id, record.path) for record in dataset.images], images, annotations, links_into)
    return dataset


def require_folder(name: str, images: Path) -> None:
    """Refuses a folder of images that is not there.

    Raises:
        DatasetError: it is not there.
    """
    if not images.is_dir():
        raise DatasetError(f"{images}: no such folder of images (dataset {name}); correct the path")


def dataset_of(name: str, images: Path, annotations: Path, content: Content) -> CocoDataset:
    """The dataset of COCO's JSON, whose annotations are checked. Whether the images are there is not looked at.

    Raises:
        DatasetError: see `load_coco`.
    """
    names = category_names(content, annotations)
    records = image_records(content, images, annotations)
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
