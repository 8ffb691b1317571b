"""A COCO dataset as it lies on the disk: images and their annotations, checked before anything is run on them.

Source: detectron2/data/datasets/coco.py (`load_coco_json`), for the order of images and the class indices.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from roastery.data.coco_annotations import check_annotations
from roastery.digest import known_file_sha256
from roastery.errors import DatasetError
from roastery.regular_file import require_regular

MAX_BYTES = 1 << 30
"""COCO's own largest file, instances_train2017.json, is 448 MB."""
MAX_SIDE = 65535
"""JPEG's largest. pycocotools counts an image's pixels in 32 bits."""
_NAMED = 5
_SURROGATE = re.compile(r"[\ud800-\udfff]")


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

    @cached_property
    def digest(self) -> str:
        """sha256 over the annotations' and every image's bytes, whatever the folder is called; read when asked for.

        Raises:
            DatasetError: a file that cannot be read.
        """
        digest = hashlib.sha256()
        for path in (self.annotations, *(image.path for image in self.images)):
            try:
                digest.update(f"{known_file_sha256(path)} {path.stat().st_size}\n".encode())
            except OSError as error:
                raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
        return digest.hexdigest()


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
    content = _read_json(annotations)
    categories = _entries(content, "categories", annotations)
    _check_ids(categories, "categories", annotations)
    names = {}
    for category in categories:
        if not _is_text(category.get("name")):
            _malformed(annotations, f"category {category['id']} has no name")
        names[category["id"]] = category["name"]
    entries = _entries(content, "images", annotations)
    _check_ids(entries, "images", annotations)
    records = sorted((_record(entry, images, annotations) for entry in entries), key=lambda record: record.id)
    _check_files(records, images, annotations)
    sizes = {record.id: (record.height, record.width) for record in records}
    given = content.get("annotations", [])
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        _malformed(annotations, "'annotations' is not a list of objects")
    _check_ids(given, "annotations", annotations)
    check_annotations(given, sizes, names.keys(), annotations)
    category_ids = tuple(sorted(names))
    return CocoDataset(
        name, images, annotations, tuple(records), category_ids, tuple(names[category] for category in category_ids)
    )


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        require_regular(path)
        if path.stat().st_size > MAX_BYTES:
            raise DatasetError(f"{path}: is larger than {MAX_BYTES >> 20} MB; split the dataset")
        content = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); give COCO annotations in JSON") from None
    except (ValueError, RecursionError) as error:
        # JSONDecodeError and UnicodeDecodeError are ValueErrors; nesting without end is a RecursionError.
        raise DatasetError(f"{path}: is not JSON ({error}); give COCO annotations in JSON") from None
    if not isinstance(content, dict):
        _malformed(path, "it is not an object with 'images', 'annotations' and 'categories'")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which JSON does not have")


def _entries(content: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        _malformed(path, f"'{key}' is not a list with at least one object in it")
    return entries


def _check_ids(entries: Sequence[Mapping[str, Any]], key: str, path: Path) -> None:
    seen: set[int] = set()
    for entry in entries:
        identity = entry.get("id")
        if type(identity) is not int or not -(1 << 63) <= identity < 1 << 63:
            _malformed(path, f"an entry of '{key}' has the id {str(identity)[:40]!r}, not an integer of 64 bits")
        if identity in seen:
            _malformed(path, f"the id {identity} occurs twice in '{key}'")
        seen.add(identity)


def _record(entry: Mapping[str, Any], folder: Path, path: Path) -> ImageRecord:
    name, height, width = entry.get("file_name"), entry.get("height"), entry.get("width")
    if not _is_text(name) or not name or "\0" in name:
        _malformed(path, f"image {entry['id']} has no file_name")
    if type(height) is not int or type(width) is not int or not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        _malformed(path, f"image {entry['id']} ({name[:80]}) has no height and width in pixels, 1 to {MAX_SIDE}")
    return ImageRecord(entry["id"], folder / name, height, width)


def _is_text(value: Any) -> TypeGuard[str]:
    """Whether it is a string that UTF-8 can write: JSON can also hold halves of a character."""
    return isinstance(value, str) and not _SURROGATE.search(value)


def _check_files(records: Sequence[ImageRecord], folder: Path, annotations: Path) -> None:
    """Refuses a file that is not there, or that is not below the folder once links and '..' are followed."""
    root = folder.resolve()
    missing = []
    for record in records:
        # `Path.resolve` fails on links that go round in a circle.
        if not Path(os.path.realpath(record.path)).is_relative_to(root):
            _malformed(
                annotations, f"image {record.id} ({str(record.path)[-80:]}) lies outside the image folder {folder}"
            )
        # `Path.is_file` fails where the name is too long for any file.
        if not os.path.isfile(record.path):  # noqa: PTH113
            missing.append(record.path.relative_to(folder).as_posix())
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise DatasetError(
            f"{folder}: {len(missing)} of {len(records)} images are missing: {', '.join(missing[:_NAMED])}{more}; "
            "restore them or correct the folder"
        )


def _malformed(path: Path, problem: str) -> NoReturn:
    raise DatasetError(f"{path}: {problem}; correct the annotations")
