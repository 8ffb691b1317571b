"""Artifact folders on fsspec, addressed by their inputs: `<root>/<stage>/<key>/`.

A folder's `manifest.json`, with the digests of its files, is written last and makes it whole: a folder without one, or
with a file that fails its digest, counts as absent and is built again. Nothing is renamed in the store, so that it
works on S3 as on a folder. One lease a key (`roastery/lease.py`) keeps two runs from building the same thing twice.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec

from roastery.digest import canonical_json, file_sha256
from roastery.errors import ArtifactMissing, DiskFull, RoasteryError, StoreRefused, StoreUnavailable, UserError
from roastery.lease import Lease
from roastery.results import ArtifactRef

MANIFEST = "manifest.json"

# What a full disk is worth: less free space than this after a failed write is taken for its cause.
_FULL_BYTES = 1 << 16
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


class Build:
    """An artifact in the making. `directory` is local and empty: what is put there becomes the artifact.

    `found` is the artifact where another run has just made it; then there is nothing to do. `ref` is the artifact after
    the `with` block.
    """

    def __init__(self, directory: Path, found: ArtifactRef | None) -> None:
        self.directory = directory
        self.found = found
        self._ref = found

    @property
    def ref(self) -> ArtifactRef:
        if self._ref is None:
            raise AssertionError("an artifact is there only after its `with` block")
        return self._ref

    def _made(self, ref: ArtifactRef) -> None:
        self._ref = ref


class Store:
    """A store of artifacts.

    Args:
        url: a folder, or an fsspec URL (`s3://bucket/prefix`). A relative folder starts at the current one.
        cache: where verified copies of remote artifacts are kept; default: under the user's cache folder.
        lease_seconds: how long a builder's heartbeat may stand still before another takes over.

    Raises:
        UserError: a URL that fsspec does not know.
    """

    def __init__(self, url: str, cache: Path | None = None, lease_seconds: float = 60.0) -> None:
        try:
            self._filesystem, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise UserError(f"store {url!r}: {error}; name a folder or an fsspec URL") from error
        self._root = str(root).rstrip("/")
        protocols = self._filesystem.protocol
        self._local = "file" in ((protocols,) if isinstance(protocols, str) else protocols)
        self._lease_seconds = lease_seconds
        self.url = self._root if self._local else str(self._filesystem.unstrip_protocol(self._root))
        self._cache = cache or _user_cache() / hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self._verified: dict[tuple[str, str], tuple[Any, ...]] = {}

    def uri(self, stage: str, key: str) -> str:
        """Where an artifact lies, or would."""
        return f"{self.url}/{stage}/{key}"

    def find(self, stage: str, key: str) -> ArtifactRef | None:
        """The artifact, if it is whole: its manifest is there and every file has its digest.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        with self._answering():
            ref = self._manifest(stage, key)
            return ref if ref is not None and self._is_whole(ref) else None

    def fetch(self, ref: ArtifactRef) -> Path:
        """A local folder with the artifact's files, verified. A local store's own is used in place: do not write there.

        Raises:
            ArtifactMissing: it is gone or damaged.
            StoreUnavailable: the store did not answer.
        """
        with self._answering():
            present = self._manifest(ref.stage, ref.key)
            if present is None or not self._is_whole(present):
                raise ArtifactMissing(f"{ref.uri}: the artifact is gone or damaged; run again to build it")
        return self._copy(present)

    @contextlib.contextmanager
    def build(self, stage: str, key: str) -> Iterator[Build]:
        """Make an artifact: fill `Build.directory`; leaving the block uploads it and writes the manifest last.

        Waits while another run builds the same key, and then gives what that run made, as `Build.found`. An exception
        in the block leaves no artifact.

        Raises:
            DiskFull: no space left, here or in the store.
            StoreUnavailable: the store did not answer, or another run took the lease over.
        """
        with self._leased(stage, key) as lease:
            found = self.find(stage, key)
            with self._work_folder(stage, key) as directory:
                build = Build(directory, found)
                with _noticing_a_full_disk(directory):
                    yield build
                if found is None:
                    with self._answering():
                        if not lease.held():
                            raise StoreUnavailable(f"{self.uri(stage, key)}: another run took over; look again")
                        try:
                            build._made(self._upload(stage, key, directory))
                        except OSError:
                            with contextlib.suppress(OSError):
                                self._clear(self._folder(stage, key))
                            raise

    def _manifest(self, stage: str, key: str) -> ArtifactRef | None:
        try:
            content = json.loads(self._filesystem.cat_file(f"{self._folder(stage, key)}/{MANIFEST}"))
            files = {str(name): str(file["sha256"]) for name, file in content["files"].items()}
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
            # Not written yet, or damaged: there is no artifact.
            return None
        if content.get("stage") != stage or content.get("key") != key or not all(map(_is_file_name, files)):
            return None
        return ArtifactRef(stage=stage, key=key, uri=self.uri(stage, key), files=files)

    def _is_whole(self, ref: ArtifactRef) -> bool:
        """Whether each file has its digest. A file that is unchanged since it was last verified is not read again."""
        folder = self._folder(ref.stage, ref.key)
        try:
            for name, sha256 in ref.files.items():
                path = f"{folder}/{name}"
                status = self._status(path)
                if self._verified.get((path, sha256)) == status:
                    continue
                if self._digest(ref, name) != sha256:
                    return False
                self._verified[path, sha256] = status
        except FileNotFoundError:
            return False
        return True

    def _status(self, path: str) -> tuple[Any, ...]:
        info = self._filesystem.info(path)
        return tuple(str(info.get(key)) for key in ("size", "mtime", "ino", "ETag", "LastModified", "created"))

    def _digest(self, ref: ArtifactRef, name: str) -> str:
        if self._local:
            return file_sha256(Path(self._folder(ref.stage, ref.key), name))
        return file_sha256(self._downloaded(ref, name))

    def _copy(self, ref: ArtifactRef) -> Path:
        if self._local:
            return Path(self._folder(ref.stage, ref.key))
        for name, sha256 in ref.files.items():
            if file_sha256(self._downloaded(ref, name)) != sha256:
                raise ArtifactMissing(f"{ref.uri}/{name}: damaged; run again to build it")
        return self._cache / ref.stage / ref.key

    def _downloaded(self, ref: ArtifactRef, name: str) -> Path:
        """A local copy of a remote file: what is there already, if it has the digest."""
        target = self._cache / ref.stage / ref.key / name
        if target.is_file() and file_sha256(target) == ref.files[name]:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{name}.")
        os.close(descriptor)
        try:
            self._filesystem.get_file(f"{self._folder(ref.stage, ref.key)}/{name}", partial)
            # Local: several processes share the cache, and none may see half a file.
            Path(partial).replace(target)
        finally:
            Path(partial).unlink(missing_ok=True)
        return target

    def _upload(self, stage: str, key: str, directory: Path) -> ArtifactRef:
        folder = self._folder(stage, key)
        self._clear(folder)
        self._filesystem.makedirs(folder, exist_ok=True)
        files: dict[str, dict[str, str | int]] = {}
        for file in sorted(directory.iterdir()):
            if not file.is_file() or not _is_file_name(file.name):
                raise AssertionError(f"{file}: an artifact holds plain files only, and writes its own {MANIFEST}")
            files[file.name] = {"sha256": file_sha256(file), "bytes": file.stat().st_size}
            if self._local:
                file.replace(Path(folder, file.name))
            else:
                self._filesystem.put_file(str(file), f"{folder}/{file.name}")
        manifest = canonical_json({"stage": stage, "key": key, "files": files}).encode()
        self._filesystem.pipe_file(f"{folder}/{MANIFEST}", manifest)
        self._filesystem.invalidate_cache(folder)
        sums = {name: str(file["sha256"]) for name, file in files.items()}
        return ArtifactRef(stage=stage, key=key, uri=self.uri(stage, key), files=sums)

    def _clear(self, folder: str) -> None:
        """Remove what an interrupted or damaged build left: the manifest first, so that no reader trusts the rest."""
        for name in (f"{folder}/{MANIFEST}", folder):
            with contextlib.suppress(FileNotFoundError):
                self._filesystem.rm(name, recursive=True)

    @contextlib.contextmanager
    def _leased(self, stage: str, key: str) -> Iterator[Lease]:
        lease = Lease(self._filesystem, f"{self._root}/.leases/{stage}/{key}", self._lease_seconds)
        with contextlib.ExitStack() as stack:
            with self._answering():
                stack.enter_context(lease)
            yield lease

    @contextlib.contextmanager
    def _work_folder(self, stage: str, key: str) -> Iterator[Path]:
        """An empty local folder. Beside a local store, so that files need no copy; named by the key, so that what a
        killed builder left there goes with the next one."""
        with self._answering():
            if self._local:
                directory = Path(self._root, ".work", f"{stage}-{key}")
                shutil.rmtree(directory, ignore_errors=True)
                directory.mkdir(parents=True)
            else:
                directory = Path(tempfile.mkdtemp(prefix="roastery-"))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Give the filesystem's errors their kind: a full disk and a missing right are the user's, others may pass."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise DiskFull(f"{self.url}: disk full; free some space and run again") from error
            if error.errno in _REFUSED:
                raise StoreRefused(f"{self.url}: {error.strerror}; make it writable or name another store") from error
            raise StoreUnavailable(f"{self.url}: the store did not answer: {error}") from error

    def _folder(self, stage: str, key: str) -> str:
        return f"{self._root}/{stage}/{key}"


@contextlib.contextmanager
def _noticing_a_full_disk(directory: Path) -> Iterator[None]:
    """A full disk where the work is done: libraries that write with C++ do not say so with an errno."""
    try:
        yield
    except UserError:
        raise
    except (OSError, RoasteryError, RuntimeError) as error:
        full = isinstance(error, OSError) and error.errno in _FULL
        if full or shutil.disk_usage(directory).free < _FULL_BYTES:
            raise DiskFull(f"{directory}: disk full; free some space and run again") from error
        raise


def _is_file_name(name: str) -> bool:
    return bool(name) and "/" not in name and name not in (".", "..", MANIFEST)


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roastery"
