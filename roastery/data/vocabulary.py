"""What a model's numbers mean: names of classes, their COCO categories, skeletons of keypoints, ids of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roastery.data.coco_json import category_names, check_ids, entries_of, is_text, malformed, read_json
from roastery.errors import ConfigError, DatasetError

Bones = tuple[tuple[int, int], ...]
"""Pairs of keypoints, counted from 0, that are joined by a line."""


@dataclass(frozen=True)
class Vocabulary:
    """Names and ids; where nothing is known, numbers.

    Attributes:
        source: the file or option that it comes from, as errors name it; "" where nothing is known.
        names: of a model's classes of things, by class index.
        category_ids: the COCO category of each of those.
        stuff_names: of the classes that a panoptic model's segments of stuff have, by class index.
        bones: of each class of things; none where no skeleton is known.
        image_ids: file name, as the annotations have it, to id.
    """

    source: str = ""
    names: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()
    stuff_names: tuple[str, ...] = ()
    bones: tuple[Bones, ...] = ()
    image_ids: Mapping[str, int] = field(default_factory=dict)

    def name(self, index: int) -> str:
        """The name of a class of things.

        Raises:
            DatasetError: names are known, but not that one.
        """
        if not self.source:
            return f"class {index}"
        if not 0 <= index < len(self.names):
            raise DatasetError(
                f"{self.source}: the model found class {index}, but 0 to {len(self.names) - 1} are named; "
                "name the classes that it was trained for"
            )
        return self.names[index]

    def stuff_name(self, index: int) -> str:
        """The name of a class of stuff; its number where it is not known."""
        return self.stuff_names[index] if 0 <= index < len(self.stuff_names) else f"stuff {index}"

    def bones_of(self, index: int) -> Bones:
        """The skeleton of a class of things."""
        return self.bones[index] if 0 <= index < len(self.bones) else ()

    def categories(self, classes: Sequence[int]) -> Sequence[int]:
        """The COCO category of each class index, as far as these classes need them: index + 1 where none is known."""
        return self.category_ids or range(1, max(classes, default=0) + 2)


def named_classes(text: str) -> Vocabulary:
    """The vocabulary of `--class-names`: names with commas between them.

    Raises:
        ConfigError: a name that is empty or occurs twice.
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"--class-names {text}: a name is empty or occurs twice; give one for each class: a,b,c")
    return Vocabulary("--class-names", names, tuple(range(1, len(names) + 1)))


def load_vocabulary(annotations: Path) -> Vocabulary:
    """The vocabulary of COCO annotations: of instances, keypoints or panoptic segments. Nothing else of them is read.

    Categories with `isthing` 0 are stuff. Of things the class index goes by rising id; of stuff too, but from 1, for
    0 is what detectron2 calls "things" there.

    Raises:
        DatasetError: JSON that is missing, malformed or without images or categories; a skeleton that leads nowhere.
    """
    content = read_json(annotations)
    names = category_names(content, annotations)
    categories = {category["id"]: category for category in content["categories"]}
    is_thing = {identity: category.get("isthing", 1) != 0 for identity, category in categories.items()}
    things = [identity for identity in sorted(names) if is_thing[identity]]
    stuff = [identity for identity in sorted(names) if not is_thing[identity]]
    images = entries_of(content, "images", annotations)
    check_ids(images, "images", annotations)
    for image in images:
        if not is_text(image.get("file_name")):
            malformed(annotations, f"image {image['id']} has no file_name")
    return Vocabulary(
        str(annotations),
        tuple(names[identity] for identity in things),
        tuple(things),
        ("things", *(names[identity] for identity in stuff)),
        tuple(_bones(categories[identity], annotations) for identity in things),
        {image["file_name"]: image["id"] for image in images},
    )


def _bones(category: Mapping[str, Any], annotations: Path) -> Bones:
    """A category's skeleton, which COCO counts from 1."""
    points, skeleton = category.get("keypoints", []), category.get("skeleton", [])
    count = len(points) if isinstance(points, list) else 0
    pairs: list[Any] = skeleton if isinstance(skeleton, list) else [None]
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(at) is int and 1 <= at <= count for at in pair)):
            malformed(annotations, f"category {category['id']} has a skeleton with {str(pair)[:40]}, not two keypoints")
    return tuple((start - 1, end - 1) for start, end in pairs)
