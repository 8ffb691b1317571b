"""What was fetched from an address, kept on this machine: `<cache>/weights/<digest of the URL>/`.

A folder holds the file under its own name, and `record.json` with its digest; while it is fetched, `partial` and
`partial.json`. A file is trusted for its digest alone, which is taken anew by each process that uses it.
"""

import contextlib
import errno
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from roastery.digest import known_file_sha256
from roastery.errors import DiskFull, OutputError
from roastery.filesystem import FULL
from roastery.home import CACHE_VARIABLE, cache_folder
from roastery.weights.address import Location
from roastery.weights.remote import Mark
from roastery.whole_file import write_whole

_FOLDER = "weights"
_RECORD, _PARTIAL, _PARTIAL_RECORD, _LOCK = "record.json", "partial", "partial.json", ".lock"

_logger = logging.getLogger(__name__)


class Record(BaseModel):
    """What is known of a fetched file."""

    model_config = ConfigDict(frozen=True)

    address: str
    sha256: str
    bytes: int
    mark: Mark


_ModelT = TypeVar("_ModelT", bound=BaseModel)


class Kept:
    """The folder of one address.

    Raises (all methods):
        DiskFull, OutputError: it cannot be written.
    """

    def __init__(self, location: Location) -> None:
        self.address = location.address
        self.folder = cache_folder() / _FOLDER / hashlib.sha256(location.url.encode()).hexdigest()[:32]
        self.file = self.folder / location.name
        self.partial = self.folder / _PARTIAL

    def record(self) -> Record | None:
        """What is known of the file, where it is there and whole."""
        record = _read(self.folder / _RECORD, Record)
        try:
            if record is None or not self.file.is_file():
                return None
            if known_file_sha256(self.file) == record.sha256:
                return record
        except OSError as error:
            _logger.warning("%s: cannot be read (%s); it is fetched again", self.file, error.strerror)
            return None
        _logger.warning("%s: is damaged: its sha256 is not %s any more; it is fetched again", self.file, record.sha256)
        return None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time; the lock of one that died is free."""
        with self.writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / _LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                _logger.info("%s: another process fetches it; waiting", self.address)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def begun(self) -> tuple[int, Mark | None]:
        """How many bytes an earlier attempt left, and of which content."""
        mark = _read(self.folder / _PARTIAL_RECORD, Mark)
        try:
            return (self.partial.stat().st_size, mark) if mark is not None else (0, None)
        except FileNotFoundError:
            return 0, None

    def begin(self, mark: Mark) -> None:
        """Before the first byte of a content is written: whose it is."""
        with self.writing():
            self.partial.unlink(missing_ok=True)
            write_whole(self.folder / _PARTIAL_RECORD, mark.model_dump_json().encode())

    def give_up(self) -> None:
        """Leave nothing of what was begun."""
        with contextlib.suppress(OSError):
            self.partial.unlink(missing_ok=True)
            (self.folder / _PARTIAL_RECORD).unlink(missing_ok=True)

    def finish(self, record: Record) -> None:
        """What was begun becomes the file. A process that dies in between leaves a record that fits no file."""
        with self.writing():
            write_whole(self.folder / _RECORD, record.model_dump_json(indent=2).encode())
            self.partial.replace(self.file)
            (self.folder / _PARTIAL_RECORD).unlink(missing_ok=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """A full disk or a folder that cannot be written as the error of its kind."""
        try:
            yield
        except OSError as error:
            if error.errno in (*FULL, errno.EFBIG):
                self.give_up()
                raise DiskFull(
                    f"{self.folder}: disk full while {self.address} was fetched; free some space, or name another "
                    f"folder in {CACHE_VARIABLE}"
                ) from error
            raise OutputError(
                f"{error.filename or self.folder}: cannot be written ({error.strerror or error}); name another folder "
                f"in {CACHE_VARIABLE}"
            ) from error


def _read(path: Path, kind: type[_ModelT]) -> _ModelT | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
