"""The targets that a model can be converted to, each a folder here that holds one `TARGET` (see `target.py`).

A target is called as `targets:` in a config calls it: the folder's name with dashes for underscores. Nothing heavy is
imported until a target does something.
"""

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from roastery.targets.target import Target

TARGETS = tuple(sorted(each.name.replace("_", "-") for each in pkgutil.iter_modules(__path__) if each.ispkg))
"""Their names."""

if TYPE_CHECKING:
    TargetName = str
else:
    TargetName = Literal[TARGETS]
"""One of `TARGETS`, in a config or a form."""


def module_of(name: str) -> str:
    """The module that holds a target: where the sources begin that decide what it makes."""
    return f"{__name__}.{name.replace('-', '_')}"


@cache
def target_of(name: str) -> "Target":
    """The target of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in TARGETS:
        raise ValueError(f"there is no target {name!r}; there are {', '.join(TARGETS)}")
    found: Target = importlib.import_module(module_of(name)).TARGET
    return found


@cache
def runtimes() -> "dict[str, Target]":
    """The target of every runtime, by the runtime's name."""
    return {runtime: target_of(name) for name in TARGETS for runtime in target_of(name).runtimes}


def target_in(directory: Path) -> "Target":
    """The target of a converted model, by the files that lie in its folder: of nothing that is known, Caffe2."""
    there = (target_of(name) for name in TARGETS)
    found = (each for each in there if all((directory / name).is_file() for name in each.files))
    return next(found, target_of("caffe2"))


@cache
def suffixes() -> "dict[str, Target]":
    """The target of every suffix that a registered name may have."""
    return {target_of(name).suffix: target_of(name) for name in TARGETS}
