"""Digests that an earlier process of this machine took of the same sources: to parse all takes a second, to read them
a fiftieth of it.

A digest is remembered under everything that decides it: the bytes of all files of the package, the modules that it
begins at, and the interpreter, whose trees differ. So nothing in here ever grows old.
"""

import hashlib
import logging
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from roastery.digest import json_sha256
from roastery.home import cache_folder
from roastery.whole_file import write_whole

_DIGEST = re.compile("[0-9a-f]{64}")
_logger = logging.getLogger(__name__)


def remembered(modules: tuple[str, ...], root: Path, take: Callable[[], str]) -> str:
    """The digest that `take` gives, or an earlier process's. Where it cannot be kept, it is taken each time.

    Args:
        modules: where it begins.
        root: the folder of the package.
    """
    name = json_sha256([sys.version, list(modules), files_sha256(root)])
    file = cache_folder() / "sources" / name
    try:
        known = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        known = ""
    if _DIGEST.fullmatch(known):
        return known
    digest = take()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, digest.encode("ascii"))
    except OSError as error:
        _logger.debug("%s: the digest of the sources is not kept: %s", file, error)
    return digest


@cache
def files_sha256(root: Path) -> str:
    """The digest of all files below a folder, by name and content; what Python compiled of them aside."""
    digests = {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return json_sha256(digests)
