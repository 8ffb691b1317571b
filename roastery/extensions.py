"""A user's own modules, which register parts of models: named in a spec, imported where a model is built.

An entry is a module by its dotted name, `my_project.modeling`; with `:function` that is called with the config before
it is read, as detectron2's projects add their own keys (`my_project.config:add_my_config`). They are code that runs,
and the only such that a spec names beside a LazyConfig.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from roastery.errors import ConfigError

ENTRY = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?$"
Hook = Callable[[Any], object]


def import_extensions(entries: Sequence[str], folder: Path | None = None) -> list[Hook]:
    """Import modules, once in a process, and give the functions that are to see the config.

    Args:
        folder: where they are looked for beside what is installed, after it.

    Raises:
        ConfigError: no such module or function, or an entry that names neither. What a module itself raises while it is
            imported comes as it is, with its traceback: it is the user's code.
    """
    hooks = []
    for entry in entries:
        name, function = _parts(entry)
        _look_in(folder)
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            # One that the module itself asks for in vain is the user's to see whole.
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise ConfigError(_not_found(name, folder)) from None
        if function:
            hook = getattr(module, function, None)
            if not callable(hook):
                raise ConfigError(f"custom_modules: module {name} has no function {function!r}; mend {entry!r}")
            hooks.append(hook)
    return hooks


def extensions_sha256(entries: Sequence[str], folder: Path | None = None) -> str:
    """One digest over the sources of all packages that the entries' modules are in. Nothing is imported.

    Raises:
        ConfigError: no such module.
    """
    digest = hashlib.sha256()
    for top in sorted({_parts(entry)[0].split(".")[0] for entry in entries}):
        _look_in(folder)
        spec = importlib.util.find_spec(top)
        if spec is None:
            raise ConfigError(_not_found(top, folder))
        for place in spec.submodule_search_locations or ():
            digest.update(sources_sha256(Path(place)).encode())
        if spec.submodule_search_locations is None and spec.origin is not None:
            digest.update(hashlib.sha256(Path(spec.origin).read_bytes()).digest())
    return digest.hexdigest()


def sources_sha256(package: Path) -> str:
    """The digest of every Python file under a package's folder, with its place in it."""
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(package).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()


def _parts(entry: str) -> tuple[str, str]:
    if not re.match(ENTRY, entry):
        raise ConfigError(
            f"custom_modules: {entry[:100]!r} names no module; write package.module, or package.module:function"
        )
    name, _, function = entry.partition(":")
    return name, function


def _look_in(folder: Path | None) -> None:
    """At the end: a file of the project hides nothing that is installed."""
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()


def _not_found(name: str, folder: Path | None) -> str:
    place = f" nor in {folder}" if folder is not None else ""
    return (
        f"custom_modules: there is no module {name} among what is installed{place}; correct its name, install it or "
        "set PYTHONPATH"
    )
