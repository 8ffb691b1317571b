"""Artifact folders on fsspec, addressed by their inputs: `<root>/<stage>/<key>/`.

A folder's `manifest.json`, with the digests of its files, is written last and makes it whole: a folder without one, or
with a file that fails its digest, counts as absent and is built again. Nothing is renamed in the store, so that it
works on S3 as on a folder. One lease a key (`roastery/lease.py`) keeps two runs from building the same thing twice.

S3 gives other bytes another ETag. The manifest holds the ETags of its files, so that one listing says whether they are
still those that were uploaded; they are hashed when they are read. Where ETags differ, as in a copy of a store, or are
not known, the files are downloaded to tell.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from roastery.artifact_cache import WORK, ArtifactCache, work_folder
from roastery.digest import canonical_json, file_sha256
from roastery.errors import ArtifactMissing, DiskFull, RoasteryError, StoreUnavailable, UserError
from roastery.filesystem import (
    FULL,
    Entry,
    entries,
    entries_below,
    faults,
    folders,
    is_local,
    kind_of,
    listed,
    make_folder,
    open_filesystem,
    read,
    remove_folder,
)
from roastery.home import cache_folder
from roastery.lease import Lease
from roastery.results import ArtifactRef

MANIFEST = "manifest.json"

# What a full disk is worth: less free space than this after a failed write is taken for its cause.
_FULL_BYTES = 1 << 16


@dataclass(frozen=True)
class _File:
    """What the manifest says of a file."""

    sha256: str
    bytes: int
    etag: str | None
    """What S3 called the object when it was uploaded."""


@dataclass(frozen=True)
class _Artifact:
    """A manifest."""

    ref: ArtifactRef
    files: dict[str, _File]


class Build:
    """An artifact in the making. `directory` is local and empty: what is put there becomes the artifact.

    `found` is the artifact where another run has just made it; then there is nothing to do. It may also be known only
    after the `with` block, of a builder that stood still meanwhile. `ref` is the artifact after the block.
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
        self._filesystem, self._root = open_filesystem(url)
        self._local = is_local(self._filesystem)
        self._faults = faults(self._filesystem)
        self._lease_seconds = lease_seconds
        self.url = self._root if self._local else str(self._filesystem.unstrip_protocol(self._root))
        self._cache_folder = cache or cache_folder() / hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self._cache = ArtifactCache(self._cache_folder)
        self._judged: dict[tuple[str, ...], bool] = {}

    def uri(self, stage: str, key: str) -> str:
        """Where an artifact lies, or would."""
        return f"{self.url}/{stage}/{key}"

    def find(self, stage: str, key: str) -> ArtifactRef | None:
        """The artifact, if it is whole: its manifest is there and every file has its digest.

        Raises:
            StoreRefused: the store may not be read.
            StoreUnavailable: the store did not answer.
        """
        with self._answering():
            artifact = self._whole(stage, key)
        return None if artifact is None else artifact.ref

    def fetch(self, ref: ArtifactRef) -> Path:
        """A local folder with the artifact's files, verified. A local store's own is used in place: do not write there.

        Raises:
            ArtifactMissing: it is gone or damaged.
            DiskFull: no space left for the copies of a remote store's files.
            StoreRefused: the store may not be read.
            StoreUnavailable: the store did not answer.
        """
        with self._answering():
            artifact = self._whole(ref.stage, ref.key)
            if artifact is None or not (self._local or self._copied(artifact)):
                raise ArtifactMissing(f"{ref.uri}: the artifact is gone or damaged; run again to build it")
            return Path(self._folder(ref.stage, ref.key)) if self._local else self._cache.artifact(ref.stage, ref.key)

    @contextlib.contextmanager
    def build(self, stage: str, key: str) -> Iterator[Build]:
        """Make an artifact: fill `Build.directory`; leaving the block uploads it and writes the manifest last.

        Waits while another run builds the same key, and then gives what that run made, as `Build.found`. An exception
        in the block leaves no artifact.

        Raises:
            DiskFull: no space left, here or in the store.
            StoreRefused: the store may not be read or written; nothing half-written counts.
            StoreUnavailable: the store did not answer, or another run took the lease over.
        """
        with self._leased(stage, key) as lease:
            found = self.find(stage, key)
            with self._work_folder(stage, key) as directory:
                build = Build(directory, found)
                with _noticing_a_full_disk(directory):
                    yield build
                if found is None:
                    # Another run may have taken over, and be done.
                    build.found = self.find(stage, key)
                    with self._answering():
                        build._ref = build.found or self._upload(stage, key, directory, lease)

    def stages(self) -> list[str]:
        """The names of the folders in it: of stages, and others.

        Raises:
            StoreRefused, StoreUnavailable: as `find`.
        """
        with self._answering():
            return folders(self._filesystem, self._root)

    def folders(self, stage: str) -> Iterator[tuple[str, dict[str, Entry]]]:
        """Of each folder of a stage, its name and what lies in it: artifacts, and what else there is.

        Raises:
            StoreRefused, StoreUnavailable: as `find`.
        """
        with self._answering():
            yield from entries_below(self._filesystem, f"{self._root}/{stage}")

    def entries(self, stage: str, key: str) -> dict[str, Entry]:
        """What lies in an artifact's folder, by name.

        Raises:
            StoreRefused, StoreUnavailable: as `find`.
        """
        with self._answering():
            return entries(self._filesystem, self._folder(stage, key))

    def files_of(self, stage: str, key: str) -> frozenset[str] | None:
        """The files that an artifact's manifest names; None where there is none, or it is damaged.

        Raises:
            StoreRefused, StoreUnavailable: as `find`.
        """
        with self._answering():
            artifact = self._manifest(stage, key)
        return None if artifact is None else frozenset(artifact.files)

    def remove(self, stage: str, key: str, files: Iterable[str], still: Callable[[], bool]) -> bool:
        """Remove files of an artifact, the manifest first, and the folder if nothing else is in it.

        Waits while somebody builds the artifact.

        Args:
            still: asked when nobody can be building it; nothing is removed where it says no.

        Raises:
            StoreRefused: the store may not be written.
            StoreUnavailable: the store did not answer, or another run took the lease over.
        """
        with self._leased(stage, key) as lease:
            if not still():
                return False
            self._make_sure(lease, stage, key)
            with self._answering():
                folder = self._folder(stage, key)
                for name in sorted(files, key=lambda name: name != MANIFEST):
                    with contextlib.suppress(FileNotFoundError):
                        self._filesystem.rm_file(f"{folder}/{name}")
                remove_folder(self._filesystem, folder)
            return True

    def _whole(self, stage: str, key: str) -> _Artifact | None:
        artifact = self._manifest(stage, key)
        if artifact is None:
            return None
        there = listed(self._filesystem, self._folder(stage, key))
        whole = all(name in there and self._is_whole(artifact, name, there[name]) for name in artifact.files)
        return artifact if whole else None

    def _manifest(self, stage: str, key: str) -> _Artifact | None:
        try:
            content = json.loads(read(self._filesystem, f"{self._folder(stage, key)}/{MANIFEST}"))
            files = {
                str(name): _File(str(file["sha256"]), int(file["bytes"]), file.get("etag"))
                for name, file in content["files"].items()
            }
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            # Not written yet, or damaged: there is no artifact.
            return None
        if content.get("stage") != stage or content.get("key") != key or not all(map(_is_file_name, files)):
            return None
        return _Artifact(self._ref(stage, key, files), files)

    def _is_whole(self, artifact: _Artifact, name: str, info: dict[str, Any]) -> bool:
        """Whether a file has its digest. One that is unchanged since it was last judged is not read again."""
        file = artifact.files[name]
        if info.get("size") != file.bytes:
            return False
        path = f"{self._folder(artifact.ref.stage, artifact.ref.key)}/{name}"
        status = (str(info.get(key)) for key in ("size", "mtime", "ino", "ETag", "LastModified", "created"))
        mark = (path, file.sha256, *status)
        if mark not in self._judged:
            as_uploaded = file.etag is not None and file.etag == info.get("ETag")
            self._judged[mark] = as_uploaded or self._has_its_digest(artifact, name)
        return self._judged[mark]

    def _has_its_digest(self, artifact: _Artifact, name: str) -> bool:
        try:
            if self._local:
                path = Path(self._folder(artifact.ref.stage, artifact.ref.key), name)
                return file_sha256(path) == artifact.files[name].sha256
            return self._download(artifact, name)
        except FileNotFoundError:
            return False

    def _copied(self, artifact: _Artifact) -> bool:
        """Make sure that there are copies of the artifact's files here, with their digests; False if one is damaged."""
        ref = artifact.ref
        for name, sha256 in ref.files.items():
            if not self._cache.has(ref.stage, ref.key, name, sha256) and not self._has_its_digest(artifact, name):
                self._disown(artifact)
                return False
        return True

    def _disown(self, artifact: _Artifact) -> None:
        """Remove the manifest of what has the ETags that it was uploaded with, and is another all the same.

        Else whoever only looks at the ETags would find it whole for ever, and nobody would build it again.
        """
        ref = artifact.ref
        with contextlib.suppress(*self._faults):
            if self._manifest(ref.stage, ref.key) == artifact:
                self._filesystem.rm_file(f"{self._folder(ref.stage, ref.key)}/{MANIFEST}")

    def _download(self, artifact: _Artifact, name: str) -> bool:
        """Copy a file here, if it has its digest.

        Raises:
            FileNotFoundError: it is gone.
        """
        ref, sha256 = artifact.ref, artifact.files[name].sha256
        with self._cache.partial(name) as partial, _noticing_a_full_disk(self._cache_folder):
            self._filesystem.get_file(f"{self._folder(ref.stage, ref.key)}/{name}", str(partial))
            if file_sha256(partial) != sha256:
                return False
            self._cache.keep(partial, ref.stage, ref.key, name, sha256)
        return True

    def _upload(self, stage: str, key: str, directory: Path, lease: Lease) -> ArtifactRef:
        folder = self._folder(stage, key)
        sums: dict[str, str] = {}
        for path in sorted(directory.iterdir()):
            if not path.is_file() or not _is_file_name(path.name):
                raise AssertionError(f"{path}: an artifact holds plain files only, and writes its own {MANIFEST}")
            sums[path.name] = file_sha256(path)
        sizes = {name: (directory / name).stat().st_size for name in sums}
        self._make_sure(lease, stage, key)
        try:
            self._clear(folder)
            make_folder(self._filesystem, folder)
            for name in sums:
                if self._local:
                    (directory / name).replace(Path(folder, name))
                else:
                    self._filesystem.put_file(str(directory / name), f"{folder}/{name}")
            there = listed(self._filesystem, folder)
            files = {name: _File(sums[name], sizes[name], there.get(name, {}).get("ETag")) for name in sums}
            if {name: there.get(name, {}).get("size") for name in sums} != sizes:
                raise StoreUnavailable(f"{self.uri(stage, key)}: the store has not kept all that it was given")
            self._make_sure(lease, stage, key)
            content: dict[str, Any] = {name: asdict(file) for name, file in files.items()}
            manifest = canonical_json({"stage": stage, "key": key, "files": content}).encode()
            self._filesystem.pipe_file(f"{folder}/{MANIFEST}", manifest)
        except self._faults:
            with contextlib.suppress(*self._faults):
                if lease.held():
                    self._clear(folder)
            raise
        if not self._local:
            # The next stage reads on this machine what this one made there.
            for name, sha256 in sums.items():
                self._cache.keep(directory / name, stage, key, name, sha256)
        return self._ref(stage, key, files)

    def _make_sure(self, lease: Lease, stage: str, key: str) -> None:
        if not lease.held():
            raise StoreUnavailable(f"{self.uri(stage, key)}: another run took over; look again")

    def _clear(self, folder: str) -> None:
        """Remove what an interrupted or damaged build left: the manifest first, so that no reader trusts the rest."""
        if self._local:
            with contextlib.suppress(FileNotFoundError):
                Path(folder, MANIFEST).unlink(missing_ok=True)
                shutil.rmtree(folder)
            return
        # One by one: s3fs does not say what it could not delete of many.
        for name in sorted(listed(self._filesystem, folder), key=lambda name: name != MANIFEST):
            with contextlib.suppress(FileNotFoundError):
                self._filesystem.rm_file(f"{folder}/{name}")

    @contextlib.contextmanager
    def _leased(self, stage: str, key: str) -> Iterator[Lease]:
        lease = Lease(self._filesystem, f"{self._root}/.leases/{stage}/{key}", self._lease_seconds)
        with contextlib.ExitStack() as stack:
            with self._answering():
                stack.enter_context(lease)
            yield lease

    @contextlib.contextmanager
    def _work_folder(self, stage: str, key: str) -> Iterator[Path]:
        """An empty local folder. Beside a local store, so that files need no copy.

        What another builder of the key left there goes: it was killed, or stands still and lost the lease. Each has a
        folder of its own, so that one that goes on writes nothing into the next one's.
        """
        parent = Path(self._root if self._local else self._cache_folder, WORK)
        name = f"{stage}-{key}"
        with contextlib.ExitStack() as stack:
            with self._answering():
                for left in parent.glob(f"{name}-*"):
                    shutil.rmtree(left, ignore_errors=True)
                directory = stack.enter_context(work_folder(parent, name))
            yield directory

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Give the filesystem's faults their kind."""
        try:
            yield
        except self._faults as fault:
            raise kind_of(fault, self.url) from fault

    def _ref(self, stage: str, key: str, files: dict[str, _File]) -> ArtifactRef:
        sums = {name: file.sha256 for name, file in files.items()}
        return ArtifactRef(stage=stage, key=key, uri=self.uri(stage, key), files=sums)

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
        full = isinstance(error, OSError) and error.errno in FULL
        if full or shutil.disk_usage(directory).free < _FULL_BYTES:
            raise DiskFull(f"{directory}: disk full; free some space and run again") from error
        raise


def _is_file_name(name: str) -> bool:
    return bool(name) and "/" not in name and name not in (".", "..", MANIFEST)
