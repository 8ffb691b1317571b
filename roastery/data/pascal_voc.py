"""PASCAL VOC's annotations as COCO's.

Source: detectron2 0.5, data/datasets/pascal_voc.py, for the classes, the boxes and the order of images; and
evaluation/pascal_voc_evaluation.py, by which an object that is marked as difficult does not count.
"""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from roastery.data.coco import CocoDataset, Content, dataset_of, require_folder
from roastery.data.coco_files import check_files
from roastery.data.coco_json import malformed
from roastery.errors import DatasetError
from roastery.regular_file import require_regular

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""In detectron2's order: class i is category i + 1."""

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")
_MOST_BYTES = 1 << 20


def load_pascal_voc(name: str, images: Path, split: Path) -> CocoDataset:
    """The dataset of the images that a list names, one a line, without their suffix .jpg.

    Args:
        images: VOC's JPEGImages.
        split: a list in VOC's ImageSets/Main. The XML of its images lie in the folder Annotations beside ImageSets.

    Raises:
        DatasetError: a list, an image or XML that is missing; XML that is malformed; an object of an unknown class.
    """
    require_folder(name, images)
    names = _names(split)
    dataset = dataset_of(name, images, split, pascal_voc_content(split))
    check_files([(record.id, record.path) for record in dataset.images], images, split)
    sources = (split, *(_xml(split, each) for each in names))
    return replace(dataset, format="pascal_voc", sources=sources, convert=partial(pascal_voc_content, split))


def pascal_voc_content(split: Path) -> Content:
    """What COCO's JSON of these images would hold. Images have the ids 1, 2, ... in the order of the list.

    Boxes, whose pixels VOC counts from 1, begin one pixel to the left and above. A difficult object is a crowd, which
    is neither missed nor found.

    Raises:
        DatasetError: see `load_pascal_voc`.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    paths = [*enumerate((_xml(split, name) for name in _names(split)), start=1)]
    check_files(paths, _annotations(split), split, what="annotations")
    for image_id, path in paths:
        root = _parsed(path)
        height, width = (_number(root, f"size/{key}", path) for key in ("height", "width"))
        images.append({"id": image_id, "file_name": f"{path.stem}.jpg", "height": int(height), "width": int(width)})
        for thing in root.findall("object"):
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **_annotation(thing, path)})
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotation(thing: Element, path: Path) -> dict[str, Any]:
    label = (thing.findtext("name") or "").strip()
    if label not in CLASSES:
        raise DatasetError(
            f"{path}: has an object of class {label[:80]!r}, which is none of VOC's 20; register a dataset with other "
            "classes in COCO's format"
        )
    left, top, right, bottom = (_number(thing, f"bndbox/{corner}", path) for corner in _CORNERS)
    width, height = right - (left - 1), bottom - (top - 1)
    return {
        "category_id": CLASSES.index(label) + 1,
        "bbox": [left - 1, top - 1, width, height],
        "area": width * height,
        "iscrowd": int((thing.findtext("difficult") or "0").strip() == "1"),
    }


def _names(split: Path) -> list[str]:
    try:
        require_regular(split)
        names = split.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "is not ASCII"
        raise DatasetError(f"{split}: cannot be read ({problem}); give a list of ImageSets/Main") from None
    for name in names:
        if not _NAME.fullmatch(name):
            malformed(split, f"{name[:80]!r} is no image's name")
    if not names or len(set(names)) < len(names):
        malformed(split, "it names an image twice" if names else "it names no image")
    return names


def _annotations(split: Path) -> Path:
    return split.parent.parent.parent / "Annotations"


def _xml(split: Path, name: str) -> Path:
    return _annotations(split) / f"{name}.xml"


def _number(element: Element, key: str, path: Path) -> float:
    text = (element.findtext(key) or "").strip()
    if not _NUMBER.fullmatch(text):
        malformed(path, f"{element.tag} has no number {key}")
    return float(text)


def _parsed(path: Path) -> Element:
    """The file's root. Declarations, by which XML grows without end or reads other files, are refused."""
    try:
        require_regular(path)
        if path.stat().st_size > _MOST_BYTES:
            malformed(path, f"it is larger than {_MOST_BYTES >> 10} KB")
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the annotations") from None
    # Whatever encoding the file says it has: Python would look for a codec of that name.
    builder, parser = TreeBuilder(), expat.ParserCreate("UTF-8")
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = partial(_refuse_doctype, path)
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError) as error:
        malformed(path, f"it is not XML ({error})")
    root: Element = builder.close()
    return root


def _refuse_doctype(path: Path, *_: object) -> None:
    malformed(path, "it has a DOCTYPE, which VOC's have not")
