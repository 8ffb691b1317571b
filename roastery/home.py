"""The user's own folders: a `~` at the start of a path, written out, and where copies are kept."""

import os
from pathlib import Path


def at_home(path: Path | str) -> Path:
    """The path with `~` or `~somebody` at its start as that home; as it stands where there is no such home."""
    try:
        # `Path.expanduser` fails where there is none.
        return Path(os.path.expanduser(path))  # noqa: PTH111
    except ValueError:
        # A name that no user can have: with a NUL, or half a surrogate pair.
        return Path(path)


CACHE_VARIABLE = "ROASTERY_CACHE"


def cache_folder() -> Path:
    """Where copies of what lies elsewhere are kept: ROASTERY_CACHE, else `roastery` in the user's cache."""
    asked = os.environ.get(CACHE_VARIABLE)
    if asked:
        return at_home(asked).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roastery"
