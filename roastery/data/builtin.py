"""The datasets that detectron2 has built in: where it looks for each, and what to put there.

Source: detectron2 0.5, data/datasets/builtin.py for names and places, and datasets/README.md for what lies there.
"""

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from roastery.errors import ConfigError, DatasetError
from roastery.home import at_home
from roastery.spec import DatasetSpec

VARIABLE = "DETECTRON2_DATASETS"
DEFAULT = "datasets"
"""Where they lie if VARIABLE is not set, in the working directory."""

# Name: the folder of images and the annotations, both below coco/.
_INSTANCES = {
    "coco_2014_train": ("train2014", "instances_train2014"),
    "coco_2014_val": ("val2014", "instances_val2014"),
    "coco_2014_minival": ("val2014", "instances_minival2014"),
    "coco_2014_minival_100": ("val2014", "instances_minival2014_100"),
    "coco_2014_valminusminival": ("val2014", "instances_valminusminival2014"),
    "coco_2017_train": ("train2017", "instances_train2017"),
    "coco_2017_val": ("val2017", "instances_val2017"),
    "coco_2017_test": ("test2017", "image_info_test2017"),
    "coco_2017_test-dev": ("test2017", "image_info_test-dev2017"),
    "coco_2017_val_100": ("val2017", "instances_val2017_100"),
    "keypoints_coco_2014_train": ("train2014", "person_keypoints_train2014"),
    "keypoints_coco_2014_val": ("val2014", "person_keypoints_val2014"),
    "keypoints_coco_2014_minival": ("val2014", "person_keypoints_minival2014"),
    "keypoints_coco_2014_valminusminival": ("val2014", "person_keypoints_valminusminival2014"),
    "keypoints_coco_2014_minival_100": ("val2014", "person_keypoints_minival2014_100"),
    "keypoints_coco_2017_train": ("train2017", "person_keypoints_train2017"),
    "keypoints_coco_2017_val": ("val2017", "person_keypoints_val2017"),
    "keypoints_coco_2017_val_100": ("val2017", "person_keypoints_val2017_100"),
}
# Name of the instances to what their panoptic files are called after. detectron2 registers each three times: the third
# time with the labels of stuff alone.
_PANOPTIC = {"coco_2017_train": "train2017", "coco_2017_val": "val2017", "coco_2017_val_100": "val2017_100"}
_PANOPTIC_FORMS = ("panoptic", "panoptic_separated")
# Name to the JSON below lvis/.
_LVIS = {
    "lvis_v1_train": "lvis_v1_train",
    "lvis_v1_val": "lvis_v1_val",
    "lvis_v1_test_dev": "lvis_v1_image_info_test_dev",
    "lvis_v1_test_challenge": "lvis_v1_image_info_test_challenge",
    "lvis_v0.5_train": "lvis_v0.5_train",
    "lvis_v0.5_val": "lvis_v0.5_val",
    "lvis_v0.5_val_rand_100": "lvis_v0.5_val_rand_100",
    "lvis_v0.5_test": "lvis_v0.5_image_info_test",
    "lvis_v0.5_train_cocofied": "lvis_v0.5_train_cocofied",
    "lvis_v0.5_val_cocofied": "lvis_v0.5_val_cocofied",
}
_CITYSCAPES = {"instance_seg": "cityscapes", "sem_seg": "cityscapes_sem_seg"}
_CITYSCAPES_SPLITS = ("train", "val", "test")
_VOC = {"2007": ("trainval", "train", "val", "test"), "2012": ("trainval", "train", "val")}


def _table() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Name, and the keys of its DatasetSpec, with paths below the folder of datasets."""
    for name, (images, annotations) in _INSTANCES.items():
        yield name, {"images": f"coco/{images}", "annotations": f"coco/annotations/{annotations}.json"}
    for name, files in _PANOPTIC.items():
        images, annotations = _INSTANCES[name]
        keys = {
            "images": f"coco/{images}",
            "annotations": f"coco/annotations/{annotations}.json",
            "panoptic": f"coco/annotations/panoptic_{files}.json",
            "panoptic_masks": f"coco/panoptic_{files}",
            "sem_seg": f"coco/panoptic_stuff_{files}",
            # What prepare_panoptic_fpn.py makes of 100 images are links to the PNGs of all.
            "links_into": "coco",
        }
        for form in _PANOPTIC_FORMS:
            yield f"{name}_{form}", keys
        labels = {"images": keys["images"], "annotations": keys["sem_seg"], "links_into": keys["links_into"]}
        yield f"{name}_panoptic_stuffonly", {"format": "coco_stuff", **labels}
    for name, annotations in _LVIS.items():
        yield name, {"format": "lvis", "images": "coco", "annotations": f"lvis/{annotations}.json"}
    for task, form in _CITYSCAPES.items():
        for split in _CITYSCAPES_SPLITS:
            places = {"images": f"cityscapes/leftImg8bit/{split}", "annotations": f"cityscapes/gtFine/{split}"}
            yield f"cityscapes_fine_{task}_{split}", {"format": form, **places}
    for year, splits in _VOC.items():
        for split in splits:
            places = {"images": f"VOC{year}/JPEGImages", "annotations": f"VOC{year}/ImageSets/Main/{split}.txt"}
            yield f"voc_{year}_{split}", {"format": "pascal_voc", **places}


BUILTIN: Mapping[str, Mapping[str, str]] = dict(_table())
"""Name to the keys of its DatasetSpec, with paths below the folder of datasets."""

# The first that matches a path below the folder of datasets says how it comes there.
_WAYS = (
    (r"coco/annotations/panoptic_.*_100\.json", "detectron2's datasets/prepare_panoptic_fpn.py fetches it"),
    (r"coco/annotations/.*_100\.json", "detectron2's datasets/prepare_for_tests.sh fetches it"),
    (r"coco/annotations/panoptic_.*", "unpack COCO's panoptic annotations into {root}/coco"),
    (r"coco/annotations/.*minival.*", "put Detectron's annotations of minival into {root}/coco/annotations"),
    (r"coco/annotations/image_info_.*", "unpack COCO's testing image info into {root}/coco"),
    (r"coco/annotations/.*(\d{4})\.json", "unpack COCO's {0} train and val annotations into {root}/coco"),
    (r"coco/panoptic_stuff_.*", "detectron2's datasets/prepare_panoptic_fpn.py makes it of {root}/coco/panoptic_*"),
    (r"coco/panoptic_.*_100", "detectron2's datasets/prepare_panoptic_fpn.py makes it"),
    (r"coco/panoptic_.*", "unpack COCO's panoptic annotations, and the zip of PNGs in them, into {root}/coco"),
    (r"coco/(\w+)", "unpack COCO's images {0} into {root}/coco"),
    (r"coco", "unpack COCO's 2017 images into {root}/coco"),
    (r"lvis/.*_cocofied\.json", "detectron2's datasets/prepare_cocofied_lvis.py makes it"),
    (r"lvis/.*", "unpack LVIS's annotations into {root}/lvis"),
    (r"cityscapes/(\w+)/.*", "unpack Cityscapes' {0} into {root}/cityscapes"),
    (r"VOC(\d+)/.*", "unpack VOC {0} (VOCdevkit/VOC{0}) into {root}"),
)
_PLACES = ("annotations", "images", "panoptic", "panoptic_masks", "sem_seg")


def datasets_folder() -> Path:
    """DETECTRON2_DATASETS, or `datasets` in the working directory.

    Raises:
        ConfigError: it is an address.
    """
    said = os.environ.get(VARIABLE) or DEFAULT
    if "://" in said:
        raise ConfigError(f"{VARIABLE}: {said.split('://')[0]}:// is an address; name a folder of this machine")
    return at_home(said).absolute()


def builtin_dataset(name: str) -> DatasetSpec | None:
    """Where detectron2 looks for one of its datasets; None where it has none of that name.

    Raises:
        ConfigError: see `datasets_folder`.
    """
    keys = BUILTIN.get(name)
    if keys is None:
        return None
    root = datasets_folder()
    paths = {key: value if key == "format" else root / value for key, value in keys.items()}
    return DatasetSpec.model_validate({"name": name, **paths})


def named_dataset(name: str, registered: Mapping[str, DatasetSpec]) -> DatasetSpec | None:
    """The registered dataset of this name, else detectron2's; None where there is neither.

    Raises:
        ConfigError: see `datasets_folder`.
    """
    return registered.get(name) or builtin_dataset(name)


def names_like(name: str, registered: Mapping[str, DatasetSpec]) -> str:
    """What an unknown name may have been meant for, as the end of an error: "; near it are a, b", or nothing."""
    near = get_close_matches(name, [*registered, *BUILTIN], n=3, cutoff=0.7)
    return f"; near it are {', '.join(near)}" if near else ""


def is_there(spec: DatasetSpec) -> bool:
    """Whether every file and folder of one of detectron2's datasets is there; of a registered one it is not looked."""
    return not any(_missing(spec))


def require_files(spec: DatasetSpec) -> None:
    """Refuses one of detectron2's datasets that is not there, and says what to put where.

    Of a registered dataset, whoever reads it says what is missing.

    Raises:
        DatasetError: a file or folder is missing.
    """
    for place in _missing(spec):
        root = datasets_folder()
        default = "" if os.environ.get(VARIABLE) else f"{VARIABLE} is not set, which means ./{DEFAULT}; "
        raise DatasetError(
            f"{spec.name}: {root / place} is not there; {_way(place)}. The dataset is "
            f"{', '.join(_needed(spec))} in {VARIABLE} ({root}); {default}see detectron2's datasets/README.md"
        )


def _missing(spec: DatasetSpec) -> Iterator[str]:
    """What is not there of it, below the folder of datasets."""
    if spec == builtin_dataset(spec.name):
        root = datasets_folder()
        yield from (place for place in _needed(spec) if not (root / place).exists())


def _needed(spec: DatasetSpec) -> list[str]:
    keys = BUILTIN[spec.name]
    needed = [keys[key] for key in _PLACES if key in keys]
    return [*needed, f"{Path(needed[0]).parents[2]}/Annotations"] if spec.format == "pascal_voc" else needed


def _way(place: str) -> str:
    for pattern, way in _WAYS:
        match = re.fullmatch(pattern, place)
        if match:
            return way.format(*match.groups(), root=f"${VARIABLE}")
    raise AssertionError(place)
