"""A file that lies elsewhere, opened where reading broke off before; and what its faults mean.

Source: RFC 9110 for what a server must hold to: Range and If-Range (13.1.5, 14.2), strong and weak ETags (8.8.3).
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Protocol

import fsspec
from pydantic import BaseModel, ConfigDict

from roastery.errors import CheckpointError, RoasteryError, WeightsUnavailable
from roastery.weights.address import Location

CONNECT_SECONDS = 30.0
SILENCE_SECONDS = 60.0
"""How long a server may send nothing."""

_BLOCK = 8 << 20
_MAY_PASS = (408, 425, 429)
_WITHOUT_RIGHT = ("NoCredentialsError", "PartialCredentialsError")  # of botocore
_WAY_OUT = "correct the address, or download the file and name its path"


class Mark(BaseModel):
    """What tells one content at an address from another, as far as a server says it."""

    model_config = ConfigDict(frozen=True)

    etag: str | None = None
    modified: str | None = None
    bytes: int | None = None

    def is_that_of(self, other: "Mark") -> bool:
        """Whether nothing says that the contents differ. A part's own mark may say less than the whole's."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.bytes, other.bytes))
        return all(one == another for one, another in pairs if one is not None and another is not None)

    @property
    def condition(self) -> str | None:
        """What a server is asked to compare before it sends a part: a weak ETag may stand for other bytes."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.modified


class Stream(Protocol):
    """A file that is read from its start to its end."""

    def read(self, count: int, /) -> bytes: ...


class Opened:
    """A file at an address, being read.

    Attributes:
        start: the position of the first byte that `stream` gives.
        mark: of the whole content.
        ends: whether it is noticed if the stream ends too early.
    """

    def __init__(self, stream: Stream, start: int, mark: Mark, ends: bool = True) -> None:
        self.stream = stream
        self.start = start
        self.mark = mark
        self.ends = ends


@contextmanager
def opened(location: Location, start: int = 0, mark: Mark | None = None) -> Iterator[Opened]:
    """Open a file at a position if its content has that mark still, else at its start.

    Raises:
        CheckpointError: it is not there, or not given to us.
        WeightsUnavailable: no answer, or one that broke off; also while it is read in the block.
    """
    condition = mark.condition if mark is not None else None
    if start == 0 or condition is None:
        start, condition = 0, None
    with (
        _explained(location),
        _open_web(location, start, condition) if location.is_web else _open_store(location, start, mark) as found,
    ):
        yield found


@contextmanager
def _open_web(location: Location, start: int, condition: str | None) -> Iterator[Opened]:
    import aiohttp

    filesystem = fsspec.filesystem(
        "http",
        skip_instance_cache=True,
        # What is written as %3A is sent as that.
        encoded="%" in location.url,
        client_kwargs={
            "auto_decompress": False,
            "timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
            # A proxy that the environment names.
            "trust_env": True,
        },
    )
    with _asked(filesystem, location.url, start, condition) as stream:
        answer = stream.r
        _require_file(location, answer)
        begins, size = 0, answer.headers.get("Content-Length")
        if answer.status == 206:
            part = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
            if part is None or int(part[1]) != start:
                raise WeightsUnavailable(f"{location.address}: the server gave another part than it was asked for")
            begins, size = start, None if part[2] == "*" else part[2]
        mark = Mark(
            etag=answer.headers.get("ETag"),
            modified=answer.headers.get("Last-Modified"),
            bytes=int(size) if size is not None and size.isdecimal() else None,
        )
        chunked = "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
        yield Opened(stream, begins, mark, ends=mark.bytes is not None or chunked)


def _asked(filesystem: Any, url: str, start: int, condition: str | None) -> Any:
    """The answer to a request, as fsspec's file: of a part where the content is the same still, else of the whole."""
    from aiohttp import ClientResponseError

    headers = {"Accept-Encoding": "identity"}
    part = {} if condition is None else {"Range": f"bytes={start}-", "If-Range": condition}
    # A size is given so that none is asked for.
    options = {"block_size": 0, "size": 1}
    try:
        return filesystem.open(url, **options, headers=headers | part)
    except ClientResponseError as refusal:
        if refusal.status != 416 or not part:
            raise
        # It has become shorter, and the server did not compare.
        return filesystem.open(url, **options, headers=headers)


def _require_file(location: Location, answer: Any) -> None:
    headers: Mapping[str, str] = answer.headers
    if location.url.startswith("https:") and answer.url.scheme != "https":
        raise CheckpointError(f"{location.address}: leads from https to an address that anybody can change; {_WAY_OUT}")
    if headers.get("Content-Type", "").startswith("text/html"):
        raise CheckpointError(f"{location.address}: gives a web page, not a checkpoint; {_WAY_OUT}")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise CheckpointError(f"{location.address}: is sent compressed, unasked; download the file and name its path")


@contextmanager
def _open_store(location: Location, start: int, mark: Mark | None) -> Iterator[Opened]:
    filesystem, path = fsspec.core.url_to_fs(location.url, use_listings_cache=False, skip_instance_cache=True)
    with _faults_of_library(location):
        info = filesystem.info(path)
        if info["type"] != "file":
            raise CheckpointError(f"{location.address}: is a folder; {_WAY_OUT}")
        now = _mark_of(info)
        with filesystem.open(path, "rb", block_size=_BLOCK) as stream:
            begins = start if now == mark else 0
            stream.seek(begins)
            yield Opened(stream, begins, now)


def _mark_of(info: Mapping[str, Any]) -> Mark:
    modified = next(
        (info[name] for name in ("LastModified", "last_modified", "updated", "mtime") if name in info), None
    )
    etag = next((info[name] for name in ("ETag", "etag", "md5Hash", "content_md5") if info.get(name)), None)
    return Mark(
        etag=None if etag is None else str(etag),
        modified=None if modified is None else str(modified),
        bytes=info.get("size"),
    )


# Nothing is raised from a fault: it may tell a URL with a secret in it.
@contextmanager
def _faults_of_library(location: Location) -> Iterator[None]:
    """The errors of a store's own library, which need not be errors of Python's."""
    try:
        yield
    except RoasteryError:
        raise
    # No list has the errors of every store's library.
    except Exception as fault:  # noqa: BLE001
        raise _kind_of(fault, location) from None


@contextmanager
def _explained(location: Location) -> Iterator[None]:
    import aiohttp

    try:
        yield
    except (aiohttp.ClientError, OSError, ValueError, ImportError) as fault:
        raise _kind_of(fault, location) from None


def _kind_of(fault: Exception, location: Location) -> RoasteryError:
    """A fault as the error of its kind, in one line that names the address."""
    import aiohttp

    said = _said(fault, location)
    if isinstance(fault, aiohttp.TooManyRedirects):
        words = f"leads from one address to the next without end; {_WAY_OUT}"
    elif isinstance(fault, aiohttp.ClientResponseError):
        return _answered(location.address, fault.status)
    elif isinstance(fault, FileNotFoundError):
        return _answered(location.address, 404)
    elif isinstance(fault, PermissionError) or type(fault).__name__ in _WITHOUT_RIGHT:
        words = f"is not given to us ({said}); set the credentials of its store"
    elif isinstance(fault, aiohttp.ClientSSLError):
        words = f"its certificate is not trusted ({said}); {_WAY_OUT}"
    elif isinstance(fault, ImportError):
        words = f"needs a package that is not here ({said}); {_WAY_OUT}"
    elif isinstance(fault, aiohttp.InvalidURL | ValueError) or type(fault).__name__ == "ParamValidationError":
        words = f"is not a whole address ({said}); correct it"
    else:
        return WeightsUnavailable(f"{location.address}: no answer, or it broke off: {said}")
    return CheckpointError(f"{location.address}: {words}")


def _answered(address: str, status: int) -> RoasteryError:
    if status in (401, 403):
        words = f"is not given to us (HTTP {status})"
    elif status in (404, 410):
        words = f"there is no such file ({status} {HTTPStatus(status).phrase})"
    elif 400 <= status < 500 and status not in _MAY_PASS:
        words = f"the server refuses it (HTTP {status})"
    else:
        return WeightsUnavailable(f"{address}: the server answers HTTP {status}")
    return CheckpointError(f"{address}: {words}; {_WAY_OUT}")


def _said(fault: Exception, location: Location) -> str:
    said = " ".join(str(fault).split()).replace(location.url, location.address)
    return said or type(fault).__name__
