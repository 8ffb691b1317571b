"""What runs use: said before it is looked for, and no longer than the run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from roastery.errors import StoreRefused, UserError
from roastery.filesystem import open_filesystem
from roastery.store import Store
from roastery.uses import RunningUses, Uses, collecting

KEY, OTHER = "0" * 64, "1" * 64


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(f"{request.getfixturevalue('s3')}/some/prefix" if request.param == "s3" else str(tmp_path / "store"))


def files_in(store: Store) -> dict[str, bytes]:
    """All of a store's files, by their paths in it."""
    filesystem, root = open_filesystem(store.url)
    return {str(path).removeprefix(f"{root}/"): filesystem.cat_file(path) for path in filesystem.find(root)}


RUN = """
import sys, time
from roastery.store import Store
from roastery.uses import Uses
with Uses(Store(sys.argv[1]), "m", 600.0) as uses:
    for key in sys.argv[2:]:
        uses.note("trace", key)
    print("noted", flush=True)
    sys.stdin.readline()
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(store: Store) -> Iterator[Start]:
    """`start(*keys)`: a run in another process that uses those, and ends when it is told a line."""
    started = []

    def run(*keys: str) -> "subprocess.Popen[str]":
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, "-c", RUN, store.url, *keys], **pipes)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "noted\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_what_a_run_uses_is_known_while_it_goes_on_and_nothing_is_left_of_it(store: Store) -> None:
    with Uses(store, "m") as uses:
        assert files_in(store) == {}
        uses.note("trace", KEY)
        running = RunningUses(store)
        assert running.names() == {f"trace/{KEY}"}
        uses.note("predict", OTHER)
        assert running.names() == {f"trace/{KEY}", f"predict/{OTHER}"}
    assert running.names() == frozenset()
    assert files_in(store) == {}


def test_a_run_that_begins_later_is_known_too(store: Store) -> None:
    running = RunningUses(store)
    with Uses(store, "m") as uses:
        uses.note("trace", KEY)
        assert running.names() == {f"trace/{KEY}"}


def test_a_killed_run_uses_nothing_and_what_it_left_is_removed(store: Store, start: Start) -> None:
    live, killed = start(KEY), start(OTHER)
    assert RunningUses(store).names() == {f"trace/{KEY}", f"trace/{OTHER}"}
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    running = RunningUses(store)
    assert running.names() == {f"trace/{KEY}"}
    assert len(files_in(store)) == 4
    running.forget_dead()
    assert len(files_in(store)) == 2
    assert running.names() == {f"trace/{KEY}"}
    live.communicate("\n", timeout=60)
    assert files_in(store) == {}


def test_in_a_folder_the_next_run_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, store.url, KEY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    assert len(files_in(store)) == 2
    with Uses(store, "m") as uses:
        uses.note("trace", OTHER)
        assert len(files_in(store)) == 2
    assert files_in(store) == {}


def test_a_run_of_another_machine_is_dead_when_its_beat_stands_still_and_not_before(store: Store) -> None:
    filesystem, root = open_filesystem(store.url)
    with Uses(store, "m", lease_seconds=0.8) as beating:
        beating.note("trace", KEY)
        still = "e" * 32
        for folder, name, content in (
            (".leases/runs", f"{still}.0", {"machine": "elsewhere", "pid": os.getpid()}),
            (".uses", f"{still}.json", {"artifacts": [f"trace/{OTHER}"]}),
        ):
            filesystem.pipe_file(f"{root}/{folder}/{name}", json.dumps(content).encode())
        before = time.monotonic()
        assert RunningUses(store, lease_seconds=2.0).names() == {f"trace/{KEY}"}
        assert time.monotonic() - before >= 2.0


def test_the_beat_of_another_machine_says_that_its_run_goes_on(
    store: Store, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not take the whole of the lease to know."""
    with Uses(store, "m", lease_seconds=0.8) as beating:
        beating.note("trace", KEY)
        monkeypatch.setattr("roastery.lease._is_of_this_machine", lambda content: False)
        before = time.monotonic()
        assert RunningUses(store, lease_seconds=60.0).names() == {f"trace/{KEY}"}
        assert time.monotonic() - before < 30


def test_a_run_that_ends_while_there_is_a_collection_leaves_what_it_used_for_it_alone(store: Store) -> None:
    with Uses(store, "m") as uses:
        uses.note("trace", KEY)
        with collecting(store):
            running = RunningUses(store)
            uses.__exit__(None, None, None)
            uses._lease = None
            assert running.names() == {f"trace/{KEY}"}
    assert RunningUses(store).names() == frozenset()
    RunningUses(store).forget_dead()
    assert files_in(store) == {}


def test_one_that_began_and_ended_while_there_is_a_collection_counts_too(store: Store) -> None:
    with collecting(store):
        running = RunningUses(store)
        with Uses(store, "m") as uses:
            uses.note("trace", KEY)
        assert running.names() == {f"trace/{KEY}"}


def test_one_collects_at_a_time(store: Store, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom roastery.store import Store\nfrom roastery.uses import collecting\n"
        "with collecting(Store(sys.argv[1])):\n    print('collects', flush=True)\n"
    )
    pipes: Any = {"stdout": subprocess.PIPE, "text": True}
    with collecting(store):
        other = subprocess.Popen([sys.executable, "-c", script, store.url], **pipes)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(5)
    assert other.communicate(timeout=60)[0] == "collects\n"


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"artifacts": 1}'])
def test_a_run_that_goes_on_and_whose_file_is_damaged_is_one_line(store: Store, content: bytes) -> None:
    filesystem, _ = open_filesystem(store.url)
    with Uses(store, "m") as uses:
        uses.note("trace", KEY)
        filesystem.pipe_file(uses._file, content)
        with pytest.raises(UserError, match="does not say what a run uses; delete it once that run has ended") as told:
            RunningUses(store).names()
        assert "\n" not in str(told.value)


def test_what_others_keep_there_says_nothing_and_stays(store: Store) -> None:
    filesystem, root = open_filesystem(store.url)
    filesystem.makedirs(f"{root}/.uses", exist_ok=True)
    filesystem.pipe_file(f"{root}/.uses/notes.txt", b"a stranger's")
    running = RunningUses(store)
    assert running.names() == frozenset()
    running.forget_dead()
    assert files_in(store) == {".uses/notes.txt": b"a stranger's"}


def test_a_store_that_refuses_is_one_line_and_the_same_run_may_try_again(s3: str, s3_gate: Any) -> None:
    store = Store(f"{s3}/store")
    with Uses(store, "m") as uses:
        s3_gate.stop("PUT", "/.uses/", "AccessDenied", times=1)
        with pytest.raises(StoreRefused, match="make it writable or name another store"):
            uses.note("trace", KEY)
        uses.note("trace", KEY)
        assert RunningUses(store).names() == {f"trace/{KEY}"}
    assert files_in(store) == {}


def test_on_s3_a_run_that_says_one_thing_more_costs_one_request(s3: str, s3_gate: Any) -> None:
    with Uses(Store(f"{s3}/store"), "m") as uses:
        uses.note("trace", KEY)
        s3_gate.open()
        uses.note("trace", OTHER)
        uses.note("trace", OTHER)
        assert [method for method, *_ in s3_gate.asked] == ["PUT"]
