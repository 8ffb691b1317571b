"""The installed detectron2, imported where it is wanted.

detectron2 0.5 and 0.6 were written for an older Pillow and an older numpy, whose names they use while they are
imported; those names are lent for that long, so that they work on today's as they are.
"""

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from roastery.errors import Detectron2Unavailable
from roastery.provenance import package_version

PACKAGE = "detectron2"
_WAY_OUT = "the docs say how to install it (how-to/live-detectron2.md), or use source: native, which needs none"
# Of Pillow before 10 and of numpy before 1.24: name, and what it stood for.
_PILLOW_NAMES = {"LINEAR": Image.Resampling.BILINEAR, "CUBIC": Image.Resampling.BICUBIC}
_NUMPY_NAMES = {"bool": bool, "int": int, "float": float, "object": object}


@cache
def detectron2(module: str = "modeling") -> ModuleType:
    """A module of the installed detectron2, such as "modeling" or "config".

    Raises:
        Detectron2Unavailable: it is not installed, or what it needs does not load.
    """
    name = f"{PACKAGE}.{module}"
    if importlib.util.find_spec(PACKAGE) is None:
        raise Detectron2Unavailable(f"detectron2 is not installed, and source: detectron2 needs it; {_WAY_OUT}")
    try:
        with _names_of_old():
            return importlib.import_module(name)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        torchvision = "torchvision" in reason
        way_out = "install the build of torchvision that was made for this torch" if torchvision else _WAY_OUT
        raise Detectron2Unavailable(
            f"{name} cannot be imported ({type(error).__name__}: {reason}); {way_out}"
        ) from error


@cache
def detectron2_folder() -> Path:
    """Where the installed detectron2 lies; nothing of it is run.

    Raises:
        Detectron2Unavailable: it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Detectron2Unavailable(f"detectron2 is not installed, and source: detectron2 needs it; {_WAY_OUT}")
    return Path(next(iter(spec.submodule_search_locations)))


def detectron2_version() -> str:
    """What the installed detectron2 calls itself. Its head calls itself as its last release."""
    try:
        return package_version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(PACKAGE), "__version__", "unknown"))


@contextmanager
def _names_of_old() -> Iterator[None]:
    lent: list[tuple[ModuleType, str]] = []
    for owner, names in ((Image, _PILLOW_NAMES), (np, _NUMPY_NAMES)):
        for name, value in names.items():
            if name not in vars(owner):
                setattr(owner, name, value)
                lent.append((owner, name))
    try:
        yield
    finally:
        for owner, name in lent:
            delattr(owner, name)
