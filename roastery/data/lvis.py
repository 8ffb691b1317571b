"""LVIS annotations as COCO's: each image was searched for some categories alone, and says for which.

Source: detectron2 0.5, data/datasets/lvis.py; github.com/lvis-dataset/lvis-api, lvis/lvis.py.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from roastery.data.coco import CocoDataset, Content, dataset_of, require_folder
from roastery.data.coco_files import check_files
from roastery.data.coco_json import category_names, entries_of, malformed, read_json

VERIFIED_KEYS = ("neg_category_ids", "not_exhaustive_category_ids")
"""Of an image: the categories that it has none of, and those of which it has more than are annotated."""
FREQUENCIES = ("r", "c", "f")
"""How many training images a category is in: rare, common, frequent."""

# Two plain names: nothing can lead out of the folder that they start in.
_PLACE = re.compile(r"\w[\w-]{0,99}/\w[\w.-]{0,199}", re.ASCII)


def load_lvis(name: str, images: Path, annotations: Path) -> CocoDataset:
    """The dataset whose images lie in the folders of `images` that its JSON names: `val2017/000000000139.jpg`.

    Args:
        images: COCO's folder.
        annotations: LVIS's JSON.

    Raises:
        DatasetError: as `load_coco`; an image without its list of categories, or a list with an unknown one.
    """
    require_folder(name, images)
    content = lvis_content(annotations)
    dataset = dataset_of(name, images, annotations, content)
    _check_verified(content, annotations)
    files = sorted(((record.id, record.path) for record in dataset.images), key=lambda file: file[1].parent)
    # Each of COCO's folders may be a link to wherever it lies.
    for folder, found in groupby(files, key=lambda file: file[1].parent):
        require_folder(name, folder)
        check_files([*found], folder, annotations)
    return replace(dataset, format="lvis", convert=partial(lvis_content, annotations))


def lvis_content(annotations: Path) -> Content:
    """The JSON with what COCO's has and LVIS's has not: no annotation is of a crowd, and `file_name` has its folder.

    Raises:
        DatasetError: JSON that is missing or malformed; an image that names no file.
    """
    content = read_json(annotations)
    for image in entries_of(content, "images", annotations):
        image["file_name"] = _file_name(image, annotations)
    given = content.get("annotations", [])
    for annotation in given if isinstance(given, list) else ():
        if isinstance(annotation, dict):
            annotation.setdefault("iscrowd", 0)
    return content


def _file_name(image: Mapping[str, Any], annotations: Path) -> str:
    """The last two parts of `coco_url`, which is in all of LVIS's files; else `file_name`."""
    said = image.get("coco_url", image.get("file_name"))
    name = "/".join(said.split("/")[-2:]) if isinstance(said, str) else ""
    if not _PLACE.fullmatch(name):
        malformed(annotations, f"image {str(image.get('id'))[:40]} has no coco_url that ends with folder and file")
    return name


def _check_verified(content: Content, annotations: Path) -> None:
    known = category_names(content, annotations).keys()
    # Those of the splits for tests, which have no annotations, say nothing.
    default: list[int] | None = None if content.get("annotations") else []
    for image in content["images"]:
        for key in VERIFIED_KEYS:
            if not _are_categories(image.get(key, default), known):
                malformed(annotations, f"image {image['id']} has no '{key}', a list of categories' ids")


def _are_categories(value: Any, known: Collection[int]) -> bool:
    return isinstance(value, list) and all(type(category) is int and category in known for category in value)
