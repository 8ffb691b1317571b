"""The store: an artifact is whole or absent, whatever happens while it is built."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from roastery.errors import ArtifactMissing, DiskFull, StoreRefused, StoreUnavailable, UserError
from roastery.lease import Lease
from roastery.store import MANIFEST, Store

KEY = "0" * 64


@pytest.fixture(params=["folder", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A folder, and fsspec's memory, which has no rename that we could lean on, as S3 has none."""
    if request.param == "folder":
        yield Store(str(tmp_path / "store"))
        return
    url = f"memory://{tmp_path.name}"
    yield Store(url, cache=tmp_path / "cache")
    memory = fsspec.filesystem("memory")
    if memory.exists(f"/{tmp_path.name}"):
        memory.rm(f"/{tmp_path.name}", recursive=True)


def fill(store: Store, text: str = "hello", key: str = KEY) -> Any:
    with store.build("trace", key) as build:
        (build.directory / "a.txt").write_text(text)
        (build.directory / "b.bin").write_bytes(b"\0" * 10)
    return build.ref


def build_and_raise(store: Store, error: Exception) -> None:
    with store.build("trace", KEY) as build:
        (build.directory / "a.txt").write_text("half")
        raise error


def raw(store: Store, name: str) -> tuple[Any, str]:
    filesystem, root = fsspec.core.url_to_fs(store.url)
    return filesystem, f"{root}/trace/{KEY}/{name}"


def test_an_artifact_is_found_and_fetched_as_it_was_built(store: Store) -> None:
    assert store.find("trace", KEY) is None
    ref = fill(store)
    assert store.find("trace", KEY) == ref
    folder = store.fetch(ref)
    assert (folder / "a.txt").read_text() == "hello"
    assert set(ref.files) == {"a.txt", "b.bin"}


def test_a_folder_without_a_manifest_is_absent(store: Store) -> None:
    ref = fill(store)
    filesystem, manifest = raw(store, MANIFEST)
    filesystem.rm(manifest)
    assert store.find("trace", KEY) is None
    with pytest.raises(ArtifactMissing, match="run again"):
        store.fetch(ref)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"files": {}}', '{"files": {"../x": {"sha256": "0"}}}'])
def test_a_damaged_manifest_is_absent(store: Store, content: str) -> None:
    fill(store)
    filesystem, manifest = raw(store, MANIFEST)
    filesystem.pipe_file(manifest, content.encode())
    assert store.find("trace", KEY) is None


def test_a_file_that_fails_its_digest_makes_the_artifact_absent_and_it_is_built_again(store: Store) -> None:
    fill(store)
    filesystem, path = raw(store, "a.txt")
    filesystem.pipe_file(path, b"hellO")
    assert Store(store.url).find("trace", KEY) is None
    assert store.find("trace", KEY) is None
    ref = fill(store)
    assert (store.fetch(ref) / "a.txt").read_text() == "hello"


def test_a_file_that_is_gone_makes_the_artifact_absent(store: Store) -> None:
    fill(store)
    filesystem, path = raw(store, "b.bin")
    filesystem.rm(path)
    assert store.find("trace", KEY) is None


def test_a_build_that_raises_leaves_no_artifact_and_nothing_half_written(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        build_and_raise(store, ZeroDivisionError())
    assert store.find("trace", KEY) is None
    assert not list(tmp_path.rglob("a.txt"))
    filesystem, path = raw(store, "a.txt")
    assert not filesystem.exists(path)
    fill(store)
    assert store.find("trace", KEY) is not None


def test_what_an_interrupted_build_left_is_no_part_of_the_next(store: Store) -> None:
    filesystem, path = raw(store, "leftover.txt")
    filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    filesystem.pipe_file(path, b"half")
    ref = fill(store)
    assert "leftover.txt" not in ref.files
    assert not filesystem.exists(path)


def test_a_second_builder_of_a_key_waits_and_gets_what_the_first_made(store: Store) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with store.build("trace", KEY) as build:
            (build.directory / "a.txt").write_text("first")
            inside.set()
            go_on.wait(20)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(20)
    entered = threading.Event()
    second: list[Any] = []

    def later() -> None:
        with Store(store.url).build("trace", KEY) as build:
            entered.set()
            second.append(build.found)

    other = threading.Thread(target=later)
    other.start()
    assert not entered.wait(0.5), "two builders at once"
    go_on.set()
    thread.join(20)
    other.join(20)
    assert second == [store.find("trace", KEY)]
    assert second[0] is not None


def test_builds_of_different_keys_do_not_wait_for_each_other(store: Store) -> None:
    with store.build("trace", KEY), store.build("trace", "1" * 64) as other:
        assert other.found is None


def _hold(url: str, entered: Any) -> None:
    with Store(url).build("trace", KEY) as build:
        (build.directory / "a.txt").write_text("never finished")
        entered.set()
        time.sleep(60)


def test_the_lease_of_a_killed_builder_is_taken_over_at_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    context = multiprocessing.get_context("fork")
    entered = context.Event()
    builder = context.Process(target=_hold, args=(store.url, entered))
    builder.start()
    assert entered.wait(20)
    assert builder.pid is not None
    os.kill(builder.pid, signal.SIGKILL)
    builder.join(20)
    started = time.monotonic()
    ref = fill(store)
    assert time.monotonic() - started < 10, "waited for the lease to lapse"
    assert (store.fetch(ref) / "a.txt").read_text() == "hello"
    assert list((tmp_path / "store" / ".work").iterdir()) == []
    assert list((tmp_path / "store" / ".leases" / "trace").iterdir()) == []


def test_a_lease_of_another_machine_lapses_when_its_beat_stands_still(store: Store) -> None:
    filesystem, root = fsspec.core.url_to_fs(store.url)
    filesystem.makedirs(f"{root}/.leases/trace", exist_ok=True)
    dead = {"owner": "x", "host": "elsewhere", "pid": 1, "started": 0.0, "beat": 3}
    filesystem.pipe_file(f"{root}/.leases/trace/{KEY}.0", json.dumps(dead).encode())
    started = time.monotonic()
    with Lease(filesystem, f"{root}/.leases/trace/{KEY}", seconds=0.5) as lease:
        assert lease.held()
        assert time.monotonic() - started >= 0.5
    assert filesystem.ls(f"{root}/.leases/trace", detail=False) == []


def test_a_lease_whose_beat_goes_on_is_not_taken_over(store: Store) -> None:
    filesystem, root = fsspec.core.url_to_fs(store.url)
    path = f"{root}/.leases/trace/{KEY}"
    got = threading.Event()
    with Lease(filesystem, path, seconds=0.4) as first:

        def other() -> None:
            with Lease(filesystem, path, seconds=0.4):
                got.set()

        thread = threading.Thread(target=other)
        thread.start()
        assert not got.wait(1.5)
        assert first.held()
    thread.join(20)
    assert got.is_set()


def test_many_claim_and_one_at_a_time_holds(tmp_path: Path) -> None:
    filesystem = fsspec.filesystem("file")
    holding, most, done = [0], [0], []
    guard = threading.Lock()

    def claim() -> None:
        with Lease(filesystem, f"{tmp_path}/leases/x"):
            with guard:
                holding[0] += 1
                most[0] = max(most[0], holding[0])
            time.sleep(0.01)
            with guard:
                holding[0] -= 1
                done.append(1)

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most[0], len(done)) == (1, 6)


def test_a_full_disk_while_building_is_the_users_error_and_leaves_nothing(store: Store) -> None:
    with pytest.raises(DiskFull, match="disk full; free some space"):
        build_and_raise(store, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert store.find("trace", KEY) is None


def test_a_full_store_is_the_users_error_and_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(store._filesystem).pipe_file

    def full(self: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        if path.endswith(MANIFEST):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, path, *args, **kwargs)

    monkeypatch.setattr(type(store._filesystem), "pipe_file", full)
    with pytest.raises(DiskFull, match="disk full"):
        fill(store)
    filesystem, path = raw(store, "a.txt")
    assert not filesystem.exists(path)


def test_a_store_that_does_not_answer_may_be_asked_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(type(store._filesystem), "cat_file", down)
    with pytest.raises(StoreUnavailable, match="did not answer: reset by peer"):
        store.find("trace", KEY)


def test_a_store_that_may_not_be_written_is_the_users_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(type(store._filesystem), "makedirs", refuse)
    with pytest.raises(StoreRefused, match="Permission denied; make it writable"):
        fill(store)


def test_an_unknown_scheme_is_the_users_error() -> None:
    with pytest.raises(UserError, match="name a folder or an fsspec URL"):
        Store("nowhere://x")


def test_a_relative_store_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(".roastery/store")
    assert store.url == str(tmp_path / ".roastery/store")


def test_the_store_needs_no_heavy_library() -> None:
    heavy = "import sys, roastery.store; sys.exit(bool({'torch', 'prefect', 'mlflow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0
