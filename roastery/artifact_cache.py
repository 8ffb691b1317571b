"""Copies of a remote store's files on this machine, which all of its processes share.

A copy is trusted for its digest alone: it is hashed when a process first meets it, and again when it has changed. What
nobody has asked for in a week is removed, and so is what a killed process left half-done.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from roastery.digest import file_sha256

WORK = ".work"
"""Where files lie that are not whole yet: beside a store's or a cache's artifacts, so that a rename moves them in."""

# Longer than any stage takes: what is older has lost its process.
_STALE_SECONDS = 7 * 24 * 3600.0


class ArtifactCache:
    """The copies of one store's artifacts: `<folder>/<stage>/<key>/<name>`.

    Raises (all methods):
        OSError: the folder cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hashed: dict[Path, tuple[tuple[int, ...], str]] = {}
        self._tidied = False

    def artifact(self, stage: str, key: str) -> Path:
        """The folder of an artifact's copies. It counts as asked for now."""
        folder = self._folder / stage / key
        with contextlib.suppress(FileNotFoundError):
            os.utime(folder)
        return folder

    def has(self, stage: str, key: str, name: str, sha256: str) -> bool:
        """Whether there is a copy of a file, and it has the digest."""
        path = self._folder / stage / key / name
        try:
            mark = _mark(path)
            if self._hashed.get(path, (None, None))[0] != mark:
                self._hashed[path] = (mark, file_sha256(path))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return self._hashed[path][1] == sha256

    def keep(self, file: Path, stage: str, key: str, name: str, sha256: str) -> None:
        """Move a file in, whose digest the caller has just taken. Another process never sees half of it."""
        self._remove_stale()
        path = self._folder / stage / key / name
        path.parent.mkdir(parents=True, exist_ok=True)
        file.replace(path)
        self._hashed[path] = (_mark(path), sha256)

    @contextlib.contextmanager
    def partial(self, name: str) -> Iterator[Path]:
        """A path for a file on its way in; `keep` it in the block, or it is removed."""
        with work_folder(self._folder / WORK, "partial") as folder:
            yield folder / name

    def _remove_stale(self) -> None:
        if not self._tidied:
            self._tidied = True
            for artifact in self._folder.glob("*/*"):
                if artifact.parent.name != WORK:
                    _remove_if_stale(artifact)


@contextlib.contextmanager
def work_folder(parent: Path, name: str) -> Iterator[Path]:
    """An empty folder of one's own, removed after the block.

    Its name begins with `name`. What killed processes left in `parent` a week ago is removed too.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.iterdir():
        _remove_if_stale(left)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f"{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_stale(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _mark(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
