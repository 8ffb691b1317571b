"""Which images are meant, and what the picture of each is called."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from roastery.errors import DatasetError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What names of images in a folder end with, in any case."""
PICTURE, PANOPTIC = ".png", ".panoptic.png"
"""What a picture's stem is followed by, and that of its map of segments."""

_LONGEST_STEM, _LONGEST_FOLDER = 160, 64
"""Bytes: a name may have 255."""


def find_images(given: Sequence[Path]) -> list[Path]:
    """The files as they are given, and of each folder the images in it, by name; each once.

    Whether a file can be read is not asked. Folders in a folder, and hidden files in it, are passed over.

    Raises:
        DatasetError: a folder that has no image, or that may not be read; nothing given.
    """
    found: dict[str, Path] = {}
    for path in given:
        for image in _images_in(path) if _is_folder(path) else [path]:
            found.setdefault(os.path.abspath(image), image)  # noqa: PTH100  (as `..` is written, without following links)
    if not found:
        raise DatasetError("no images to detect in; name files, or folders of images")
    return list(found.values())


def picture_stems(images: Sequence[Path]) -> list[str]:
    """What each image's picture is called before `.png`: as the image.

    Where several are called the same (in whatever case), the folder's name goes before it, and where that does not
    help a number behind.
    """
    stems = [_cut(image.stem, _LONGEST_STEM) for image in images]
    shared = Counter(stem.casefold() for stem in stems)
    taken: set[str] = set()
    chosen: dict[int, str] = {}
    # What is alone of its name keeps it.
    for index in sorted(range(len(images)), key=lambda index: shared[stems[index].casefold()] > 1):
        stem = stems[index]
        if shared[stem.casefold()] > 1:
            stem = f"{_cut(images[index].absolute().parent.name, _LONGEST_FOLDER)}_{stem}"
        wanted, number = stem, 1
        while taken & _files(stem):
            number += 1
            stem = f"{wanted}_{number}"
        taken |= _files(stem)
        chosen[index] = stem
    return [chosen[index] for index in range(len(images))]


def _files(stem: str) -> set[str]:
    """The files of a picture, as they meet on a file system that takes upper and lower case for the same."""
    return {f"{stem}{suffix}".casefold() for suffix in (PICTURE, PANOPTIC)}


def _images_in(folder: Path) -> list[Path]:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read ({error.strerror}); name another folder") from None
    images = [
        folder / name
        for name in names
        if not name.startswith(".") and name.lower().endswith(SUFFIXES) and not _is_folder(folder / name)
    ]
    if not images:
        raise DatasetError(f"{folder}: holds no image ({', '.join(SUFFIXES)}); name files, or another folder")
    return images


def _is_folder(path: Path) -> bool:
    # `Path.is_dir` fails where the name is too long for any file.
    return os.path.isdir(path)  # noqa: PTH112


def _cut(name: str, longest: int) -> str:
    """The beginning of a name that takes at most so many bytes."""
    while len(os.fsencode(name)) > longest:
        name = name[:-1]
    return name
