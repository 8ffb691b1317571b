"""The store: an artifact is whole or absent, whatever happens while it is built."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from roastery.errors import ArtifactMissing, DiskFull, StoreUnavailable
from roastery.store import MANIFEST, Store

KEY = "0" * 64


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A folder, fsspec's memory, which knows no ETags, and S3."""
    if request.param == "folder":
        yield Store(str(tmp_path / "store"))
    elif request.param == "s3":
        yield Store(f"{request.getfixturevalue('s3')}/some/prefix")
    else:
        yield Store(f"memory://{tmp_path.name}", cache=tmp_path / "cache")
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


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"files": {}}', '{"files": {"../x": {"sha256": "0"}}}', pytest.param("[" * 100_000, id="deep")],
)
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


SUSPENDED = """
import sys
from pathlib import Path
from roastery.store import Store
with Store(sys.argv[1], cache=Path(sys.argv[2]), lease_seconds=0.4).build("trace", "0" * 64) as build:
    (build.directory / "a.txt").write_text("of the first")
    print("made", flush=True)
    sys.stdin.readline()
    if sys.argv[3:]:
        (build.directory / "b.txt").write_text("of the first")
print(build.found is not None, build.ref.uri)
"""


@pytest.fixture(params=["folder", "s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that several processes share."""
    return f"{request.getfixturevalue('s3')}/store" if request.param == "s3" else str(tmp_path / "store")


@pytest.mark.parametrize("goes_on_writing", [False, True])
def test_a_builder_that_was_suspended_does_not_touch_what_the_next_one_made(
    shared: str, tmp_path: Path, goes_on_writing: bool
) -> None:
    """Its own folder is gone where it shares the machine; it is told so, or takes what the other made."""
    command = [sys.executable, "-c", SUSPENDED, shared, str(tmp_path / "cache"), *["writes"] * goes_on_writing]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "made\n"
        os.kill(first.pid, signal.SIGSTOP)
        store = Store(shared, cache=tmp_path / "cache", lease_seconds=0.4)
        with store.build("trace", KEY) as build:
            assert build.found is None
            (build.directory / "a.txt").write_text("of the second")
            os.kill(first.pid, signal.SIGCONT)
            if goes_on_writing:
                said = first.communicate("\n", timeout=60)
                assert "FileNotFoundError" in said[1]
        if not goes_on_writing:
            said = first.communicate("\n", timeout=60)
            assert said == (f"True {build.ref.uri}\n", "")
    assert set(build.ref.files) == {"a.txt"}
    assert (Store(shared, cache=tmp_path / "other").fetch(build.ref) / "a.txt").read_text() == "of the second"


def test_a_builder_that_lost_its_lease_uploads_nothing(shared: str, tmp_path: Path) -> None:
    """The other one is not done yet: both would write the same files."""
    store = Store(shared, cache=tmp_path / "cache")
    filesystem, lease = store._filesystem, f"{store._root}/.leases/trace/{KEY}.0"

    def lose() -> None:
        with store.build("trace", KEY) as build:
            (build.directory / "a.txt").write_text("of the first")
            filesystem.rm_file(lease)

    with pytest.raises(StoreUnavailable, match="another run took over; look again"):
        lose()
    assert not filesystem.exists(f"{store._root}/trace/{KEY}/a.txt")


def test_a_full_disk_while_building_is_the_users_error_and_leaves_nothing(store: Store) -> None:
    with pytest.raises(DiskFull, match="disk full; free some space"):
        build_and_raise(store, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert store.find("trace", KEY) is None


def patched(monkeypatch: pytest.MonkeyPatch, store: Store, method: str, instead: Any) -> Any:
    """Let the store's filesystem do something else (s3fs has its methods on the instance); what it did before."""
    before = getattr(store._filesystem, method)
    monkeypatch.setattr(store._filesystem, method, instead)
    return before


def test_a_full_store_is_the_users_error_and_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, *args: Any, **kwargs: Any) -> Any:
        if path.endswith(MANIFEST):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return before(path, *args, **kwargs)

    before = patched(monkeypatch, store, "pipe_file", full)
    with pytest.raises(DiskFull, match="disk full"):
        fill(store)
    filesystem, path = raw(store, "a.txt")
    assert not filesystem.exists(path)


def test_a_store_that_does_not_answer_may_be_asked_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionResetError("reset by peer")

    patched(monkeypatch, store, "cat_file", down)
    with pytest.raises(StoreUnavailable, match="did not answer: reset by peer"):
        store.find("trace", KEY)


def test_a_relative_store_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(".roastery/store")
    assert store.url == str(tmp_path / ".roastery/store")


def test_the_store_needs_no_heavy_library() -> None:
    heavy = "import sys, roastery.store; sys.exit(bool({'torch', 'prefect', 'mlflow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0
