"""A lease on a name beside a store: of several processes, on one machine or many, one holds it at a time.

A lease is a small file with its holder and a beat that the holder counts up. Who finds one waits for it to go, or takes
it over when its holder is dead: at once where the holder's process was on this machine and is no more, else when the
file has stood still for the lease's time, measured by the waiter's own clock (clocks of two machines need not agree).

Files are only created where they must not exist, overwritten by their holder, and deleted; never renamed. To take over,
a waiter creates the next generation of the file, which only one can, and makes sure that all that stood there before is
still as it was.
"""

import contextlib
import json
import os
import random
import socket
import threading
import time
import uuid
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from roastery.filesystem import create, faults, listed, make_folder, overwrite, read

_FIRST_POLL_SECONDS = 0.1
# Each look at S3 is a request or two that are paid for.
_LAST_POLL_SECONDS = 1.0
_BEATS_A_LEASE = 4

_held_here: set[str] = set()
"""The owners in this process. What else bears its id was left behind: its deletion failed, or the id was another's."""


class Lease:
    """Use it as a context manager: entering waits until the lease is held.

    Args:
        filesystem: an fsspec filesystem.
        path: where the lease's files lie; a generation is added to the name.
        seconds: how long the holder's beat may stand still.

    Raises:
        Exception: the filesystem's faults (`roastery.filesystem.faults`), while it is acquired.
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
        _held_here.add(self._owner)
        try:
            self._acquire()
        except BaseException:
            _held_here.discard(self._owner)
            raise
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
        _held_here.discard(self._owner)
        # A lease that cannot be deleted is taken over by who comes next: its holder's error must not hide behind this.
        with contextlib.suppress(*faults(self._filesystem)):
            if self.held():
                self._remove(self._generation)

    def held(self) -> bool:
        """Whether nobody has taken it over, as happens to a holder that stood still (a suspended machine)."""
        content = self._read(self._generation)
        return content is not None and _holder(content).get("owner") == self._owner

    def _acquire(self) -> None:
        make_folder(self._filesystem, self._folder)
        seen: dict[int, bytes] = {}
        seen_since = time.monotonic()
        pause = _FIRST_POLL_SECONDS
        while True:
            standing = self._standing()
            if standing != seen:
                seen, seen_since = standing, time.monotonic()
            stood_still = time.monotonic() - seen_since > self._seconds
            if (stood_still or all(map(_is_dead, standing.values()))) and self._claim(standing):
                return
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  (two waiters must not march in step)
            pause = min(pause * 1.5, _LAST_POLL_SECONDS)

    def _claim(self, stale: dict[int, bytes]) -> bool:
        """Create the generation after the stale ones, and make sure that nothing else was claimed meanwhile."""
        generation = max(stale, default=-1) + 1
        content = self._content(0)
        create(self._filesystem, self._file(generation), content)
        standing = self._standing()
        if standing.pop(generation, None) != content:
            return False
        # The stale ones must still be what they were: one may have been released, and its name used again.
        if standing != stale:
            self._remove(generation)
            return False
        self._generation = generation
        for old in stale:
            self._remove(old)
        return True

    def _beat(self) -> None:
        beat = 0
        while not self._ended.wait(self._seconds / _BEATS_A_LEASE):
            beat += 1
            # The next beat may get through; if none does, `held` says so before anything is made of it.
            with contextlib.suppress(*faults(self._filesystem)):
                if not self.held():
                    return
                overwrite(self._filesystem, self._file(self._generation), self._content(beat))

    def _content(self, beat: int) -> bytes:
        pid = os.getpid()
        holder = {
            "owner": self._owner,
            "machine": _machine(),
            "pid": pid,
            "started": _started(pid),
            # As long at every beat.
            "beat": f"{beat:09}",
        }
        return json.dumps(holder).encode()

    def _standing(self) -> dict[int, bytes]:
        """What the lease's files hold, by generation."""
        start = f"{self._name}."
        generations = sorted(int(name.removeprefix(start)) for name in listed(self._filesystem, self._folder, start))
        contents = {generation: self._read(generation) for generation in generations}
        return {generation: content for generation, content in contents.items() if content is not None}

    def _read(self, generation: int) -> bytes | None:
        try:
            return read(self._filesystem, self._file(generation))
        except FileNotFoundError:
            return None

    def _remove(self, generation: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(self._file(generation))

    def _file(self, generation: int) -> str:
        return f"{self._folder}/{self._name}.{generation}"


class Watch:
    """Looks at leases of which nobody else wants to be the holder: which of them are held.

    Args:
        filesystem: an fsspec filesystem.
        folder: where the leases' files lie.
        seconds: how long a holder's beat may stand still.

    Raises (all methods):
        Exception: the filesystem's faults (`roastery.filesystem.faults`).
    """

    def __init__(self, filesystem: Any, folder: str, seconds: float = 60.0) -> None:
        self._filesystem = filesystem
        self._folder = folder
        self._seconds = seconds

    def dead_here(self) -> set[str]:
        """The names of those whose holder was a process of this machine that has ended."""
        return {name for name, content in self._contents().items() if _is_dead(content)}

    def held(self) -> set[str]:
        """The names of those that are held. To tell of a holder on another machine takes until its next beat, or as
        long as a beat may stand still."""
        first = self._contents()
        held = {name for name, content in first.items() if _is_of_this_machine(content) and not _is_dead(content)}
        open_still = {name for name, content in first.items() if not _is_of_this_machine(content)}
        deadline = time.monotonic() + self._seconds
        while open_still:
            time.sleep(min(_LAST_POLL_SECONDS, self._seconds / _BEATS_A_LEASE))
            late = time.monotonic() > deadline
            now = self._contents()
            held |= {name for name in open_still if name in now and now[name] != first[name]}
            open_still = set() if late else {name for name in open_still if now.get(name) == first[name]}
        return held

    def remove(self, name: str) -> None:
        """Remove one whose holder is dead."""
        for file in listed(self._filesystem, self._folder, f"{name}."):
            with contextlib.suppress(FileNotFoundError):
                self._filesystem.rm_file(f"{self._folder}/{file}")

    def _contents(self) -> dict[str, bytes]:
        """What the leases' files hold, by name; of several generations, the last."""
        contents = {}
        for file in sorted(listed(self._filesystem, self._folder), key=_generation_of):
            with contextlib.suppress(FileNotFoundError):
                contents[file.rpartition(".")[0]] = read(self._filesystem, f"{self._folder}/{file}")
        return contents


def _generation_of(file: str) -> int:
    number = file.rpartition(".")[2]
    return int(number) if number.isdecimal() else -1


def _holder(content: bytes) -> dict[str, Any]:
    """What a lease's file says of its holder: nothing where it was never written whole."""
    try:
        holder = json.loads(content)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_of_this_machine(content: bytes) -> bool:
    holder = _holder(content)
    return holder.get("machine") == _machine() and isinstance(holder.get("pid"), int)


def _is_dead(content: bytes) -> bool:
    """Whether the holder was a process of this machine that has ended; its id may have been given to another."""
    if not _is_of_this_machine(content):
        return False
    holder = _holder(content)
    pid = int(holder["pid"])
    if pid == os.getpid():
        return holder.get("owner") not in _held_here
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        # Another user's, and alive.
        pass
    started = _started(pid)
    return started is not None and started != holder.get("started")


@cache
def _machine() -> str:
    """Where a process's id means something: a host since it was booted, and in it a namespace of ids (a container)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        # Nobody else's.
        return uuid.uuid4().hex
    return f"{socket.gethostname()} {boot} {namespace}"


def _started(pid: int) -> str | None:
    """When a process started, in ticks since the machine did, which no clock that is set changes; "ended" for one that
    only waits for its parent to look; None where it cannot be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if fields[0] in "ZX" else fields[19]
