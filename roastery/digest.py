"""Digests: of files, of JSON. Light, so that a process that only decides what to run needs nothing heavy."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

JSON = str | int | float | bool | None | Sequence["JSON"] | Mapping[str, "JSON"]

_CHUNK = 1 << 20


def canonical_json(value: JSON) -> str:
    """The one spelling of a JSON value: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: a number that JSON does not have (NaN, infinity).
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def json_sha256(value: JSON) -> str:
    """The digest of `canonical_json(value)`, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """The digest of a file's bytes, read piece by piece: 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


_known: dict[tuple[str, int, int, int], str] = {}


def known_file_sha256(path: Path) -> str:
    """`file_sha256`, remembered in this process as long as the file's inode, size and time of change stay.

    For a large checkpoint, or a dataset, that one run asks for again and again; never to verify what was read from a
    store.
    """
    status = path.stat()
    mark = (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
    if mark not in _known:
        _known[mark] = file_sha256(path)
    return _known[mark]
