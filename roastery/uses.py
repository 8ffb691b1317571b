"""What the runs of a store use: `<store>/.uses/<run>.json`, so that no collection takes it from under them.

A run holds the lease `<store>/.leases/runs/<run>` as long as it goes on, and names each artifact in its file before it
looks for it. When the lease is dead (the run was killed), the file says nothing any more.

A collection (`roastery/retention.py`) that looks while runs begin, file what they made and end would miss those that it
never met. So it holds `<store>/.leases/gc` before it looks at anything, and a run that ends meanwhile leaves its file;
the next collection removes it.
"""

import contextlib
import json
import re
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from roastery.errors import StoreUnavailable, UserError
from roastery.filesystem import faults, is_local, kind_of, listed, make_folder, open_filesystem, read
from roastery.lease import Lease, Watch
from roastery.store import Store
from roastery.whole_file import write_whole

FOLDER = ".uses"
_LEASES = ".leases"
_RUNS = f"{_LEASES}/runs"
_COLLECTION = "gc"
_FILE = re.compile(r"([0-9a-f]{32})\.json")


class Uses:
    """What one run uses. A context manager: after it, the run uses nothing.

    Nothing is written before the first `note`, so that a store that refuses says so where a stage can be tried again.

    Args:
        store: where the artifacts lie.
        model: the run's, for who reads the file.
        lease_seconds: how long the run's heartbeat may stand still.
    """

    def __init__(self, store: Store, model: str, lease_seconds: float = 60.0) -> None:
        self._filesystem, self._root = open_filesystem(store.url)
        self._url = store.url
        self._model = model
        self._run = uuid.uuid4().hex
        self._lease_seconds = lease_seconds
        self._lease: Lease | None = None
        self._noted: list[str] = []
        # Shards are looked for side by side.
        self._turn = threading.Lock()

    def __enter__(self) -> "Uses":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lease is None:
            return
        # What cannot be removed says nothing once the lease is gone.
        with contextlib.suppress(FileNotFoundError, *faults(self._filesystem)):
            if not _is_collected(self._filesystem, self._root):
                self._filesystem.rm_file(self._file)
        self._lease.__exit__(None, None, None)

    def note(self, stage: str, key: str) -> None:
        """Say that the run uses an artifact, before it is looked for.

        Raises:
            DiskFull, StoreRefused, StoreUnavailable: it cannot be said.
        """
        name = f"{stage}/{key}"
        with self._turn, _answering(self._filesystem, self._url):
            if name in self._noted:
                return
            if self._lease is None:
                self._lease = self._begin()
            self._write([*self._noted, name])
            self._noted.append(name)

    def _begin(self) -> Lease:
        if is_local(self._filesystem):
            # What killed runs left: `roastery gc` removes it from S3, where each look is paid for. It may be another
            # user's.
            with contextlib.suppress(*faults(self._filesystem)):
                _remove_dead(self._filesystem, self._root, _watch(self._filesystem, self._root).dead_here())
        make_folder(self._filesystem, f"{self._root}/{FOLDER}")
        lease = Lease(self._filesystem, f"{self._root}/{_RUNS}/{self._run}", self._lease_seconds)
        return lease.__enter__()

    def _write(self, names: list[str]) -> None:
        content = json.dumps({"model": self._model, "artifacts": names}).encode()
        if is_local(self._filesystem):
            write_whole(Path(self._file), content)
        else:
            self._filesystem.pipe_file(self._file, content)

    @property
    def _file(self) -> str:
        return f"{self._root}/{FOLDER}/{self._run}.json"


class RunningUses:
    """What the runs of a store use that are going on, and those that began after this was made.

    Args:
        store: where the artifacts lie.
        lease_seconds: how long a run's heartbeat may stand still. Where runs of other machines are recorded, making
            this takes until their next beat, or so long.

    Raises (all methods):
        StoreRefused, StoreUnavailable: the store did not say.
        UserError: the file of a run that goes on is damaged.
    """

    def __init__(self, store: Store, lease_seconds: float = 60.0) -> None:
        self._filesystem, self._root = open_filesystem(store.url)
        self._url = store.url
        self._read: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {}
        with _answering(self._filesystem, self._url):
            watch = _watch(self._filesystem, self._root, lease_seconds)
            # First those that are there: one that begins meanwhile is not taken for dead.
            there = set(self._files()) | _runs_of(listed(self._filesystem, f"{self._root}/{_RUNS}"))
            self._dead = (there - watch.held()) if there else set()

    def names(self) -> frozenset[str]:
        """Each artifact that is used now, as "stage/key"."""
        with _answering(self._filesystem, self._url):
            found: set[str] = set()
            for run, info in self._files().items():
                if run not in self._dead:
                    found |= self._names_of(run, info)
            return frozenset(found)

    def forget_dead(self) -> None:
        """Remove what dead runs left."""
        with _answering(self._filesystem, self._url):
            _remove_dead(self._filesystem, self._root, self._dead)
        # One that was only suspended counts again from its next word on.
        self._dead = set()

    def _files(self) -> dict[str, dict[str, Any]]:
        there = listed(self._filesystem, f"{self._root}/{FOLDER}")
        return {match[1]: info for name, info in there.items() if (match := _FILE.fullmatch(name))}

    def _names_of(self, run: str, info: dict[str, Any]) -> frozenset[str]:
        mark = tuple(str(info.get(key)) for key in ("size", "mtime", "ino", "ETag", "LastModified", "created"))
        if self._read.get(run, ((), frozenset()))[0] != mark:
            path = f"{self._root}/{FOLDER}/{run}.json"
            try:
                content = json.loads(read(self._filesystem, path))
                names = frozenset(str(name) for name in content["artifacts"])
            except FileNotFoundError:
                # It has just ended, and what it used is not used any more.
                return frozenset()
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise UserError(f"{path}: does not say what a run uses; delete it once that run has ended") from error
            self._read[run] = (mark, names)
        return self._read[run][1]


@contextlib.contextmanager
def collecting(store: Store, lease_seconds: float = 60.0) -> Iterator[Lease]:
    """Be the one who collects: waits for another one to end. Runs that end in this block leave what they used.

    Raises:
        DiskFull, StoreRefused, StoreUnavailable: the store may not be written, or did not answer.
    """
    filesystem, root = open_filesystem(store.url)
    lease = Lease(filesystem, f"{root}/{_LEASES}/{_COLLECTION}", lease_seconds)
    with contextlib.ExitStack() as stack:
        with _answering(filesystem, store.url):
            stack.enter_context(lease)
        yield lease


def still_collecting(lease: Lease, store: Store) -> None:
    """Make sure that nobody else collects.

    Raises:
        StoreUnavailable: another one took over, from a process that stood still.
    """
    filesystem, _ = open_filesystem(store.url)
    with _answering(filesystem, store.url):
        if not lease.held():
            raise StoreUnavailable(f"{store.url}: another `roastery gc` took over; run it again")


def _is_collected(filesystem: Any, root: str) -> bool:
    return bool(listed(filesystem, f"{root}/{_LEASES}", f"{_COLLECTION}."))


def _watch(filesystem: Any, root: str, seconds: float = 60.0) -> Watch:
    return Watch(filesystem, f"{root}/{_RUNS}", seconds)


def _remove_dead(filesystem: Any, root: str, runs: set[str]) -> None:
    for run in runs:
        with contextlib.suppress(FileNotFoundError):
            filesystem.rm_file(f"{root}/{FOLDER}/{run}.json")
        _watch(filesystem, root).remove(run)


def _runs_of(leases: dict[str, Any]) -> set[str]:
    return {name.rpartition(".")[0] for name in leases}


@contextlib.contextmanager
def _answering(filesystem: Any, url: str) -> Iterator[None]:
    """Give the filesystem's faults their kind."""
    try:
        yield
    except faults(filesystem) as fault:
        raise kind_of(fault, url) from fault
