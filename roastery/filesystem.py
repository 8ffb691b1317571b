"""The filesystem under a store: a folder, or S3 through fsspec. What the two do differently stands here.

S3 has no folders and no rename. Other processes write beside this one, so no listing is remembered. S3's libraries have
errors of their own; they come out of here as errors of Roastery.
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import fsspec

from roastery.errors import DiskFull, RoasteryError, StoreRefused, StoreUnavailable, UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def open_filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of a URL, and the path in it.

    Args:
        url: a folder, or an fsspec URL (`s3://bucket/prefix`). A relative folder starts at the current one.

    Raises:
        UserError: a URL that fsspec does not know.
    """
    try:
        filesystem, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise UserError(f"store {url!r}: {error}; name a folder or an fsspec URL") from error
    return filesystem, str(root).rstrip("/")


@dataclass(frozen=True)
class Entry:
    """What lies in a folder under a name. A link is what it is, not what it leads to."""

    kind: Literal["file", "folder", "other"]
    bytes: int
    modified: float
    """Seconds since 1970, as the filesystem counts them; of a folder on S3, of which nothing is known, 0."""


def is_local(filesystem: Any) -> bool:
    """Whether its files are this machine's, or mounted there."""
    return "file" in _protocols(filesystem)


def make_folder(filesystem: Any, folder: str) -> None:
    """Make a folder and those above it, where there are folders: s3fs would make a bucket that is not there."""
    if not _is_s3(filesystem):
        filesystem.makedirs(folder, exist_ok=True)


def listed(filesystem: Any, folder: str, start: str = "") -> dict[str, dict[str, Any]]:
    """What lies in a folder under names that begin with `start`, by name; nothing where there is no folder."""
    try:
        if _is_s3(filesystem):
            # One request, whatever else there is, and also where there is nothing.
            above, name = folder.rsplit("/", 1)
            below = filesystem.find(above, detail=True, prefix=f"{name}/{start}")
            found = [info for path, info in below.items() if path.rsplit("/", 1)[0] == folder]
        else:
            found = filesystem.ls(folder, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    named = {str(info["name"]).rsplit("/", 1)[-1]: info for info in found}
    return {name: info for name, info in named.items() if name.startswith(start)}


def entries(filesystem: Any, folder: str) -> dict[str, Entry]:
    """What lies in a folder, by name; nothing where there is no folder. Links are not followed."""
    if is_local(filesystem):
        return _local_entries(folder)
    if _is_s3(filesystem):
        return dict(next((found for _, found in _by_folder(filesystem, folder, folder.rsplit("/", 1)[0])), {}))
    try:
        found = filesystem.ls(folder, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {str(info["name"]).rsplit("/", 1)[-1]: _entry(info) for info in found}


def entries_below(filesystem: Any, folder: str) -> Iterator[tuple[str, dict[str, Entry]]]:
    """Of each folder in a folder, its name and what lies in it. Links are not followed.

    On S3 one request for a thousand objects, however many folders there are.
    """
    if _is_s3(filesystem):
        yield from _by_folder(filesystem, folder, folder)
        return
    for name, entry in sorted(entries(filesystem, folder).items()):
        if entry.kind == "folder":
            yield name, entries(filesystem, f"{folder}/{name}")


def folders(filesystem: Any, folder: str) -> list[str]:
    """The names of the folders in a folder. Links are not followed."""
    if _is_s3(filesystem):
        try:
            found = filesystem.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        names = [str(info["name"]).rsplit("/", 1)[-1] for info in found if info["type"] == "directory"]
    else:
        names = [name for name, entry in entries(filesystem, folder).items() if entry.kind == "folder"]
    return sorted(names)


def remove_folder(filesystem: Any, folder: str) -> None:
    """Remove a folder if nothing is in it, where there are folders."""
    if is_local(filesystem):
        try:
            Path(folder).rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _local_entries(folder: str) -> dict[str, Entry]:
    try:
        with os.scandir(folder) as scanned:
            found = list(scanned)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    there = {}
    for each in found:
        try:
            status = each.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        kind: Literal["file", "folder", "other"] = "other"
        if each.is_file(follow_symlinks=False):
            kind = "file"
        elif each.is_dir(follow_symlinks=False):
            kind = "folder"
        there[each.name] = Entry(kind, status.st_size, status.st_mtime)
    return there


def _by_folder(filesystem: Any, folder: str, above: str) -> Iterator[tuple[str, dict[str, Entry]]]:
    """The objects under a prefix, by the names that come after `above`, in their order."""
    there: dict[str, dict[str, Entry]] = {}
    for path, info in filesystem.find(folder, detail=True).items():
        name, _, rest = str(path).removeprefix(f"{above}/").partition("/")
        first, deeper, _ = rest.partition("/")
        if first:
            there.setdefault(name, {})[first] = Entry("folder", 0, 0.0) if deeper else _entry(info)
    yield from sorted(there.items())


def _entry(info: dict[str, Any]) -> Entry:
    modified = info.get("LastModified") or info.get("created") or 0.0
    if isinstance(modified, datetime):
        modified = modified.timestamp()
    kind: Literal["file", "folder"] = "folder" if info["type"] == "directory" else "file"
    return Entry(kind, int(info.get("size") or 0), float(modified))


def read(filesystem: Any, path: str) -> bytes:
    """A small file's bytes.

    Raises:
        FileNotFoundError: it is not there.
    """
    # s3fs asks for the size first where it may share the work out.
    options = {"max_concurrency": 1} if _is_s3(filesystem) else {}
    return bytes(filesystem.cat_file(path, **options))


def create(filesystem: Any, path: str, content: bytes) -> None:
    """Write a file that must not be there. Where it is, it stays; who needs to know whose it is reads it.

    S3 tells of a file that is there also when the first answer was lost and the request was repeated.
    """
    try:
        if is_local(filesystem):
            # fsspec only looks whether the file is there; the operating system creates it or fails.
            with open(path, "xb") as file:  # noqa: PTH123
                file.write(content)
        else:
            filesystem.pipe_file(path, content, mode="create")
    except FileExistsError:
        return
    except OSError as error:
        if _s3_code(error) not in ("PreconditionFailed", "ConditionalRequestConflict"):
            raise


def overwrite(filesystem: Any, path: str, content: bytes) -> None:
    """Write a file anew with as many bytes as it has, so that a reader meets it whole.

    Raises:
        FileNotFoundError: it is gone (from a folder; S3 cannot tell).
    """
    if is_local(filesystem):
        with open(path, "r+b", buffering=0) as file:  # noqa: PTH123
            file.write(content)
    else:
        filesystem.pipe_file(path, content)


def faults(filesystem: Any) -> tuple[type[Exception], ...]:
    """The errors of a filesystem that does not do what it is asked."""
    if not _is_s3(filesystem):
        return (OSError,)
    import aiohttp
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    return (OSError, BotoCoreError, ClientError, aiohttp.ClientError)


def kind_of(fault: Exception, url: str) -> RoasteryError:
    """A fault as the error of its kind, in one line.

    A full disk and a bucket that is not there are the user's; a refusal is, but may be lifted; all else may pass.
    """
    said = " ".join(str(getattr(fault, "strerror", None) or fault).split()).rstrip(".")
    where = getattr(fault, "filename", None) or url
    number = getattr(fault, "errno", None)
    if number in FULL:
        return DiskFull(f"{where}: disk full; free some space and run again")
    if _s3_code(fault) in ("NoSuchBucket", "InvalidBucketName") or type(fault).__name__ == "ParamValidationError":
        return UserError(f"{url}: {said}; create the bucket or name another store")
    if isinstance(fault, PermissionError) or number in _REFUSED:
        return StoreRefused(f"{where}: {said}; make it writable or name another store")
    if type(fault).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return StoreRefused(f"{url}: {said}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name another store")
    return StoreUnavailable(f"{url}: the store did not answer: {said}")


def _s3_code(fault: Exception) -> str | None:
    """S3's own word for what is wrong. s3fs raises an error of Python's from it."""
    response = getattr(fault, "response", None) or getattr(fault.__cause__, "response", None)
    return None if response is None else response.get("Error", {}).get("Code")


def _is_s3(filesystem: Any) -> bool:
    return "s3" in _protocols(filesystem)


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocols = filesystem.protocol
    return (protocols,) if isinstance(protocols, str) else tuple(protocols)
