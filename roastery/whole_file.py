"""A file that is there whole or as it was: written beside its place, and put there in one step."""

import os
import tempfile
from pathlib import Path

from roastery.umask import current_umask

_LONGEST_PREFIX = 64
"""Letters of a name that the file beside it begins with; a name may be as long as the file system allows."""


def write_whole(file: Path, content: bytes) -> None:
    """Write a file, over one that is there. After an error nothing is left of it.

    Raises:
        OSError: it cannot be written.
    """
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name[:_LONGEST_PREFIX]}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        # mkstemp's own mode shuts everybody else out.
        Path(temporary).chmod(0o666 & ~current_umask())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
