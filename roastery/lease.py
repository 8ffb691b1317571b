"""A lease on a name beside a store: of several processes, on one machine or many, one holds it at a time.

A lease is a small file with its holder and a beat that the holder counts up. Who finds one waits for it to go, or takes
it over when its holder is dead: at once where the holder's process was on this machine and is no more, else when the
beat has stood still for the lease's time, measured by the waiter's own clock (clocks of two machines need not agree).

Files are only created where they must not exist, overwritten by their holder, and deleted; never renamed. To take over,
a waiter creates the next generation of the file, which only one can.
"""

import contextlib
import json
import os
import random
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import psutil

_POLL_SECONDS = 0.1
_BEATS_A_LEASE = 4


@dataclass(frozen=True)
class _Found:
    """The lease that stands: its generation and what its holder wrote (nothing while it is being written)."""

    generation: int
    content: dict[str, Any]

    @property
    def owner(self) -> str:
        return str(self.content.get("owner", ""))


class Lease:
    """Use it as a context manager: entering waits until the lease is held.

    Args:
        filesystem: an fsspec filesystem.
        path: where the lease's files lie; a generation is added to the name.
        seconds: how long the holder's beat may stand still.

    Raises:
        OSError: the filesystem's errors, while it is acquired.
    """

    def __init__(self, filesystem: Any, path: str, seconds: float = 60.0) -> None:
        self._filesystem = filesystem
        self._folder, self._name = path.rsplit("/", 1)
        self._seconds = seconds
        self._owner = uuid.uuid4().hex
        self._generation = -1
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None

    def __enter__(self) -> "Lease":
        self._acquire()
        self._ended.clear()
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        assert self._beating is not None
        self._beating.join()
        # A lease that cannot be deleted is taken over by who comes next: its holder's error must not hide behind this.
        with contextlib.suppress(OSError):
            if self.held():
                self._filesystem.rm_file(self._file(self._generation))

    def held(self) -> bool:
        """Whether nobody has taken it over, as happens to a holder that stood still (a suspended machine)."""
        found = self._find()
        return found is not None and found.owner == self._owner

    def _acquire(self) -> None:
        self._filesystem.makedirs(self._folder, exist_ok=True)
        seen: tuple[str, Any] | None = None
        seen_since = time.monotonic()
        while True:
            found = self._find()
            if found is None:
                if self._claim(None):
                    return
                continue
            now = (found.owner, found.content.get("beat"))
            if now != seen:
                seen, seen_since = now, time.monotonic()
            stood_still = time.monotonic() - seen_since > self._seconds
            if (stood_still or _is_dead(found.content)) and self._claim(found):
                return
            time.sleep(_POLL_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  (two waiters must not march in step)

    def _claim(self, stale: _Found | None) -> bool:
        """Create the generation after `stale`, and make sure that nothing else was claimed meanwhile."""
        generation = 0 if stale is None else stale.generation + 1
        if not self._create(self._file(generation)):
            return False
        others = [other for other in self._generations() if other != generation]
        if stale is None:
            alone = not others
        else:
            # The stale one must still be what it was: it may have been released, and its name used again.
            alone = others == [stale.generation] and self._read(stale.generation).owner in ("", stale.owner)
        if not alone:
            self._remove(generation)
            return False
        self._generation = generation
        if stale is not None:
            self._remove(stale.generation)
        return True

    def _create(self, file: str) -> bool:
        content = self._content(0)
        try:
            if "file" in _protocols(self._filesystem):
                # fsspec only looks whether the file is there; the operating system creates it or fails.
                with open(file, "xb") as created:  # noqa: PTH123
                    created.write(content)
            else:
                self._filesystem.pipe_file(file, content, mode="create")
        except FileExistsError:
            return False
        return True

    def _beat(self) -> None:
        beat = 0
        while not self._ended.wait(self._seconds / _BEATS_A_LEASE):
            beat += 1
            # The next beat may get through; if none does, `held` says so before anything is made of it.
            with contextlib.suppress(OSError):
                if not self.held():
                    return
                self._filesystem.pipe_file(self._file(self._generation), self._content(beat))

    def _content(self, beat: int) -> bytes:
        pid = os.getpid()
        holder = {
            "owner": self._owner,
            "host": socket.gethostname(),
            "pid": pid,
            "started": psutil.Process(pid).create_time(),
            "beat": beat,
        }
        return json.dumps(holder).encode()

    def _find(self) -> _Found | None:
        generations = self._generations()
        return self._read(generations[-1]) if generations else None

    def _generations(self) -> list[int]:
        self._filesystem.invalidate_cache(self._folder)
        names = [str(path).rsplit("/", 1)[-1] for path in self._filesystem.ls(self._folder, detail=False)]
        start = f"{self._name}."
        return sorted(int(name.removeprefix(start)) for name in names if name.startswith(start))

    def _read(self, generation: int) -> _Found:
        try:
            content = json.loads(self._filesystem.cat_file(self._file(generation)))
        except (FileNotFoundError, ValueError):
            # Gone since it was listed, or half-written.
            content = {}
        return _Found(generation, content)

    def _remove(self, generation: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(self._file(generation))

    def _file(self, generation: int) -> str:
        return f"{self._folder}/{self._name}.{generation}"


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that has ended; its id may have been given to another."""
    if holder.get("host") != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(holder["pid"]))
        return bool(process.create_time() != holder["started"] or process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
