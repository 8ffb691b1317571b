"""A `~` at the start of a path, written out."""

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
