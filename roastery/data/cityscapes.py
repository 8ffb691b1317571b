"""Cityscapes: instances out of the PNGs of their ids, as COCO's annotations, and semantic labels.

Source: detectron2 0.5, data/datasets/cityscapes.py (`_get_cityscapes_files`, and `_cityscapes_files_to_dict` from
PNGs), and builtin_meta.py for the classes and their order. detectron2 evaluates by these PNGs too, not by the polygons
that it trains on.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from roastery.data.coco import CocoDataset, Content, ImageRecord, require_folder
from roastery.data.coco_files import check_files
from roastery.data.label_png import png_size, read_png
from roastery.data.sem_seg import image_entries, labelled_dataset
from roastery.errors import DatasetError

THINGS = {
    **{24: "person", 25: "rider", 26: "car", 27: "truck"},
    **{28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle"},
}
"""Label id, which is the category, to name, in the order of a model's classes."""
LABELS = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", *THINGS.values()),
)
"""Train id, which is the semantic label, to name."""

_IMAGE = "_leftImg8bit.png"
_INSTANCES = "_gtFine_instanceIds.png"
_LABELS = "_gtFine_labelTrainIds.png"
_IDS_OF_ONE = 1000
"""An instance's id is its label's by 1000 and a number; what is not told apart has its label's own."""


def load_cityscapes(name: str, images: Path, annotations: Path, *, decode: bool = True) -> CocoDataset:
    """The instances of the images in leftImg8bit/SPLIT, each in its city's folder.

    Images have the ids 1, 2, ... by city and name. Their annotations are made when they are asked for.

    Args:
        annotations: gtFine/SPLIT.
        decode: whether every PNG is decoded and checked now, or when the annotations are asked for.

    Raises:
        DatasetError: no images; an image without its PNG of instance ids, or a file that is none.
    """
    records, truths = _records(name, images, annotations, _INSTANCES)
    if decode:
        _content(records, truths, images)
    return CocoDataset(
        name,
        images,
        annotations,
        records,
        tuple(THINGS),
        tuple(THINGS.values()),
        format="cityscapes",
        sources=truths,
        convert=partial(_content, records, truths, images),
    )


def load_cityscapes_sem_seg(name: str, images: Path, annotations: Path, *, decode: bool = True) -> CocoDataset:
    """The semantic labels of the images in leftImg8bit/SPLIT: a dataset of no instances and no categories.

    Raises:
        DatasetError: as `load_cityscapes`, of the PNGs of train ids.
    """
    records, truths = _records(name, images, annotations, _LABELS)
    return labelled_dataset(name, images, annotations, records, truths, LABELS, "cityscapes_sem_seg", decode=decode)


def _records(
    name: str, images: Path, annotations: Path, suffix: str
) -> tuple[tuple[ImageRecord, ...], tuple[Path, ...]]:
    """The images, and of each the PNG that its annotations lie in."""
    require_folder(name, images)
    if not annotations.is_dir():
        raise DatasetError(f"{annotations}: no such folder of annotations (dataset {name}); unpack Cityscapes' gtFine")
    files = sorted(images.glob(f"*/*{_IMAGE}"))
    if not files:
        raise DatasetError(f"{images}: holds no CITY/*{_IMAGE}; unpack Cityscapes' leftImg8bit")
    truths = [annotations / file.parent.name / f"{file.name.removesuffix(_IMAGE)}{suffix}" for file in files]
    for truth in truths:
        if not truth.is_file():
            made = "; make it with cityscapesscripts' createTrainIdLabelImgs.py" if suffix == _LABELS else ""
            raise DatasetError(f"{truth}: is not there{made or '; unpack all of gtFine'}")
    for folder, found in ((images, files), (annotations, truths)):
        check_files(list(enumerate(found, start=1)), folder, annotations)
    records = (
        ImageRecord(number, file, *png_size(truth))
        for number, (file, truth) in enumerate(zip(files, truths, strict=True), start=1)
    )
    return tuple(records), tuple(truths)


def _content(records: tuple[ImageRecord, ...], truths: tuple[Path, ...], images: Path) -> Content:
    """What COCO's JSON of these images would hold: masks as run lengths, what is not told apart as a crowd.

    Raises:
        DatasetError: a PNG that is damaged or has another size than when the dataset was read.
    """
    found = (each for record, truth in zip(records, truths, strict=True) for each in _annotations(record, truth))
    return {
        "images": image_entries(records, images),
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(found, start=1)],
        "categories": [{"id": label, "name": name} for label, name in THINGS.items()],
    }


def _annotations(record: ImageRecord, truth: Path) -> Iterator[dict[str, Any]]:
    # Column by column, as run lengths go.
    ids = np.asfortranarray(read_png(truth, record.height, record.width, {"I;16", "I", "L"}, np.int32))
    for identity in np.unique(ids).tolist():
        label = identity // _IDS_OF_ONE if identity >= _IDS_OF_ONE else identity
        if label not in THINGS:
            continue
        mask = mask_api.encode((ids == identity).view(np.uint8))
        yield {
            "image_id": record.id,
            "category_id": label,
            "bbox": mask_api.toBbox(mask).tolist(),
            "area": int(mask_api.area(mask)),
            "iscrowd": int(identity < _IDS_OF_ONE),
            "segmentation": {**mask, "counts": mask["counts"].decode("ascii")},
        }
