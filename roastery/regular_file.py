"""Whether a path leads to a plain file: a pipe is waited for without end, and some devices never end."""

import stat
from pathlib import Path


def require_regular(path: Path) -> None:
    """Refuse what is no plain file, before it is opened. A link is what it leads to.

    Raises:
        OSError: nothing is there, or a folder, pipe, socket or device; `strerror` says it in words.
    """
    try:
        mode = path.stat().st_mode
    except ValueError as error:
        # A NUL, or half a surrogate pair.
        raise OSError(None, "No path has such characters") from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(None, "Is a directory")
    if not stat.S_ISREG(mode):
        raise OSError(None, "Is a pipe, a socket or a device, not a file")
