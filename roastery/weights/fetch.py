"""Fetching a checkpoint from its address: once, resumed where it broke off, verified, whole or not there."""

import hashlib
import io
import logging
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tenacity import Retrying, before_sleep_log, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from roastery.digest import file_sha256
from roastery.errors import CheckpointError, WeightsUnavailable
from roastery.weights.address import Location, check_address, is_address, local_file, locate, publishes_zoo
from roastery.weights.cache import Kept, Record
from roastery.weights.remote import Mark, opened

Told = Callable[[int, int | None], None]
"""Is told how many bytes are there, and how many there will be, where that is known."""

Fetching = Callable[[], AbstractContextManager[Told]]
"""What lasts as long as a checkpoint is fetched, and is told of it."""

ATTEMPTS = 5
FIRST_WAIT_SECONDS = 1.0
MOST_BYTES = 8 << 30
"""No detector is larger; an endless answer is."""

_CHUNK = 1 << 20
_LOG_SECONDS = 10.0

_logger = logging.getLogger(__name__)


def silently() -> AbstractContextManager[Told]:
    """Tell nobody."""
    return nullcontext(lambda done, total: None)


def local_weights(name: Path | str, sha256: str | None = None, fetching: Fetching = silently) -> Path:
    """The path of a checkpoint: as it stands, or, of an address, of the file that was fetched from there.

    What was fetched before is not asked for again, as long as it is whole and has the digest.

    Args:
        name: a path, or an address as `roastery.weights.address.SCHEMES` says.
        sha256: the digest that the file must have, where it is an address.
        fetching: entered where something has to be fetched.

    Raises:
        CheckpointError: an address that is none, or leads to no such file; another digest.
        WeightsUnavailable: no answer, or one that broke off, several times.
        DiskFull, OutputError: the cache cannot be written.
    """
    if not is_address(str(name)):
        return Path(name)
    check_address(str(name))
    file = local_file(str(name))
    if file is not None:
        return file
    location = locate(str(name))
    kept = Kept(location)
    if _is_kept(kept, sha256):
        return kept.file
    with kept.locked():
        # Another process may have been faster.
        if not _is_kept(kept, sha256):
            with fetching() as told:
                _fetch(location, kept, sha256, told)
    return kept.file


def fetched_before(name: str) -> Path | None:
    """The path of a checkpoint, without asking anybody: None of an address from which nothing was fetched yet.

    Raises:
        CheckpointError: an address that is none.
    """
    if not is_address(name):
        return Path(name)
    check_address(name)
    file = local_file(name)
    if file is not None:
        return file
    kept = Kept(locate(name))
    return kept.file if kept.record() is not None else None


def _is_kept(kept: Kept, sha256: str | None) -> bool:
    record = kept.record()
    return record is not None and sha256 in (None, record.sha256)


def _fetch(location: Location, kept: Kept, sha256: str | None, told: Told) -> None:
    started = time.monotonic()
    attempts = Retrying(
        retry=retry_if_exception_type(WeightsUnavailable),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential_jitter(
            multiplier=FIRST_WAIT_SECONDS, max=30 * FIRST_WAIT_SECONDS, jitter=FIRST_WAIT_SECONDS
        ),
        before_sleep=before_sleep_log(_logger, logging.INFO),
        reraise=True,
    )
    try:
        mark: Mark = attempts(_receive, location, kept, told)
        record = _verified(location, kept, mark, sha256)
    except CheckpointError:
        kept.give_up()
        raise
    except WeightsUnavailable as error:
        raise WeightsUnavailable(
            f"{error}; tried {ATTEMPTS} times: run again, and it goes on where it broke off, or download the file and "
            "name its path"
        ) from error
    kept.finish(record)
    _logger.info("%s: fetched %.1f MB in %.1f s", location.address, record.bytes / 1e6, time.monotonic() - started)


def _receive(location: Location, kept: Kept, told: Told) -> Mark:
    """Let the partial file become whole. What it has is kept, whatever happens.

    Returns:
        The mark of the content.
    """
    there, begun = kept.begun()
    if begun is not None and begun.bytes == there:
        return begun
    with opened(location, there, begun) as remote:
        if remote.start and not (begun and remote.mark.is_that_of(begun)):
            # The server did not compare, and this is the end of another content.
            kept.give_up()
            raise WeightsUnavailable(f"{location.address}: has changed while it was fetched")
        _require_size(location, remote.mark.bytes or 0)
        if not remote.ends:
            raise CheckpointError(
                f"{location.address}: the server does not say how long it is, so that nobody knows when it is whole; "
                "download the file and name its path"
            )
        if not remote.start:
            kept.begin(remote.mark)
        mark = begun if remote.start and begun else remote.mark
        there, total = remote.start, mark.bytes
        _logger.info("%s: fetching %s from byte %d", location.address, _size(total), there)
        logged = time.monotonic()
        with kept.writing():
            file = kept.partial.open("ab", buffering=0)
        with file:
            while chunk := remote.stream.read(_CHUNK):
                with kept.writing():
                    _write(file, chunk)
                there += len(chunk)
                _require_size(location, there)
                told(there, total)
                if time.monotonic() - logged > _LOG_SECONDS:
                    logged = time.monotonic()
                    _logger.info("%s: %s of %s", location.address, _size(there), _size(total))
            with kept.writing():
                os.fsync(file.fileno())
    if total is not None and there != total:
        if there > total:
            kept.give_up()
        raise WeightsUnavailable(f"{location.address}: broke off after {there} of {total} bytes")
    return mark


def _write(file: io.FileIO, chunk: bytes) -> None:
    # Unbuffered, so that closing the file of a full disk does not fail once more.
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]


def _verified(location: Location, kept: Kept, mark: Mark, sha256: str | None) -> Record:
    """What is known of the file that is whole now.

    Raises:
        CheckpointError: it is another file than the one that is asked for.
    """
    with kept.writing():
        found = file_sha256(kept.partial)
        md5 = _md5(kept.partial) if location.md5 else None
    if sha256 not in (None, found):
        raise CheckpointError(
            f"{location.address}: its sha256 is {found}, not {sha256}; name the right address, or mend the digest. "
            "Nothing of it was kept"
        )
    if md5 is not None and location.md5 and not md5.startswith(location.md5):
        said = f"{location.address}: its MD5 is {md5} and does not begin with the {location.md5} in its name"
        if publishes_zoo():
            raise CheckpointError(
                f"{said}: it was damaged or changed on its way; fetch it again. Nothing of it was kept"
            )
        _logger.warning("%s: it is not the file that detectron2 published under that name", said)
    return Record(address=location.address, sha256=found, bytes=kept.partial.stat().st_size, mark=mark)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _require_size(location: Location, size: int) -> None:
    if size > MOST_BYTES:
        raise CheckpointError(
            f"{location.address}: is larger than {_size(MOST_BYTES)}, which no checkpoint is; correct the address"
        )


def _size(count: int | None) -> str:
    return "an unknown number of bytes" if count is None else f"{count / 1e6:.1f} MB"
