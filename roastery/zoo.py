"""detectron2's own configs by the names that its users type: COCO-Detection/retinanet_R_50_FPN_1x.yaml.

They are read from a folder that the user names (ROASTERY_ZOO: a checkout of detectron2's `configs`, or the checkout
itself), else from an installed detectron2, which is not imported.

Source: detectron2 0.5, model_zoo/model_zoo.py (get_config_file).
"""

import difflib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from roastery.errors import ConfigError
from roastery.home import at_home

ZOO_VARIABLE = "ROASTERY_ZOO"
_OFFERED = 3
_WAY_OUT = f"set {ZOO_VARIABLE} to the configs folder of a checkout of detectron2, or install detectron2"


def find_config(config: Path | str) -> Path:
    """The file of a config: the path itself, else the file of the model zoo that has this name.

    Args:
        config: a path; or a name in the zoo, with or without `.yaml`. A name has no `..` and starts at no root.

    Returns:
        A file that is there; or the path as it stands where it is no name, for its reader to refuse.

    Raises:
        ConfigError: neither; or a LazyConfig, which is code.
    """
    path = at_home(config)
    if path.suffix == ".py":
        raise ConfigError(
            f"{path}: is a LazyConfig, which is Python code and is run with `--source detectron2` alone; add that, or "
            "name a YAML config of the same architecture"
        )
    # What is there and is no file, such as a folder, is the reader's to refuse.
    if os.path.exists(path) or not _is_name(path):  # noqa: PTH110  (`Path.exists` fails where the name is too long)
        return path
    found = find_in_zoo(path)
    if found is None:
        raise ConfigError(f"{path}: no such file, and no config of that name in {_describe_places()}{_way_out(path)}")
    return found


def find_in_zoo(name: Path | str) -> Path | None:
    """The zoo's file of that name, with or without `.yaml`; None where there is none, or where it is no name."""
    name = Path(name)
    if not _is_name(name):
        return None
    for folder in zoo_folders():
        for file in (folder / name, folder / f"{name}.yaml"):
            if os.path.isfile(file):  # noqa: PTH113  (as above)
                return file
    return None


def zoo_folders() -> list[Path]:
    """The folders in which names are looked for, in that order; they need not be there."""
    folders = []
    if named := os.environ.get(ZOO_VARIABLE):
        folders += [at_home(named), at_home(named) / "configs"]
    return folders + [place / "model_zoo" / "configs" for place in _installed()]


def _installed() -> list[Path]:
    """Where an installed detectron2 lies. Finding a package runs nothing of it."""
    try:
        spec = importlib.util.find_spec("detectron2")
    except ValueError:
        # It is in `sys.modules`, but was put there by hand.
        return []
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []


def _is_name(path: Path) -> bool:
    """Whether a path can be a name in a zoo: it climbs out of no folder."""
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _describe_places() -> str:
    named = os.environ.get(ZOO_VARIABLE)
    zoo = f"{ZOO_VARIABLE} ({named if named else 'not set'})"
    installed = [str(place / "model_zoo" / "configs") for place in _installed()]
    return f"{zoo} or an installed detectron2 ({', '.join(installed) or 'there is none'})"


def _way_out(name: Path) -> str:
    known = sorted(set(_names()))
    asked = name.as_posix()[:200]
    near = difflib.get_close_matches(asked if asked.endswith(".yaml") else f"{asked}.yaml", known, _OFFERED)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; {_WAY_OUT}" if not known else "; correct the name"


def _names() -> Iterator[str]:
    """The names of the zoos that are there. No deeper than detectron2's: the variable may name any folder."""
    for folder in zoo_folders():
        for file in [*folder.glob("*.yaml"), *folder.glob("*/*.yaml")]:
            yield file.relative_to(folder).as_posix()
