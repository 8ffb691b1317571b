"""What only S3 shows of a store: requests that cost, writes of others, large files, refusals, answers that are lost."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from s3fs import S3FileSystem

from roastery.errors import ArtifactMissing, DiskFull, StoreRefused, StoreUnavailable
from roastery.store import MANIFEST, Store

KEY = "0" * 64
FILES = {"a.txt": b"hello", "b.bin": b"\0" * 10, "c.bin": b"c" * 100_000}


@pytest.fixture
def store(s3: str, tmp_path: Path) -> Store:
    return Store(f"{s3}/prefix", cache=tmp_path / "a")


@pytest.fixture
def elsewhere(s3: str, tmp_path: Path) -> Store:
    """The same store from another machine: nothing is in its cache."""
    return Store(f"{s3}/prefix", cache=tmp_path / "b")


def fill(store: Store, files: dict[str, bytes] = FILES) -> Any:
    with store.build("trace", KEY) as build:
        for name, content in files.items():
            (build.directory / name).write_bytes(content)
    return build.ref


def cost(gate: Any, work: Callable[[], object]) -> tuple[int, int]:
    """How many requests some work makes, and how many of the artifact's bytes it moves here."""
    before = len(gate.asked)
    work()
    asked = gate.asked[before:]
    return len(asked), sum(received for _, path, _, received in asked if Path(path).name in FILES)


def put(store: Store, name: str, content: bytes) -> None:
    """Write an object as somebody else does, who knows nothing of the store."""
    S3FileSystem(skip_instance_cache=True).pipe_file(f"{store._root}/trace/{KEY}/{name}", content)


def keys_in(store: Store) -> list[str]:
    names = store._filesystem.find(store._root)
    return [str(name).removeprefix(f"{store._root}/") for name in names]


def test_looking_takes_two_requests_and_no_byte_of_the_artifact(store: Store, elsewhere: Store, s3_gate: Any) -> None:
    ref = fill(store)
    for look in (store, elsewhere, elsewhere):
        assert cost(s3_gate, lambda look=look: look.find("trace", KEY)) == (2, 0)
    assert elsewhere.find("trace", KEY) == ref


def test_an_artifact_that_is_not_there_takes_one_request(store: Store, s3_gate: Any) -> None:
    assert cost(s3_gate, lambda: store.find("trace", KEY)) == (1, 0)


def test_files_are_downloaded_once_for_all_processes_and_by_who_made_them_never(
    store: Store, elsewhere: Store, s3_gate: Any, tmp_path: Path
) -> None:
    ref = fill(store)
    size = sum(map(len, FILES.values()))
    assert cost(s3_gate, lambda: store.fetch(ref)) == (2, 0)
    elsewhere.find("trace", KEY)
    assert cost(s3_gate, lambda: elsewhere.fetch(ref)) == (2 + len(FILES), size)
    assert cost(s3_gate, lambda: elsewhere.fetch(ref)) == (2, 0)
    another_process = Store(store.url, cache=tmp_path / "b")
    assert cost(s3_gate, lambda: another_process.fetch(ref)) == (2, 0)
    assert {file.name: file.read_bytes() for file in another_process.fetch(ref).iterdir()} == FILES


def test_a_copy_is_hashed_once_a_process(
    store: Store, elsewhere: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roastery import artifact_cache

    ref = fill(store)
    elsewhere.fetch(ref)
    hashed: list[str] = []
    real = artifact_cache.file_sha256
    monkeypatch.setattr(artifact_cache, "file_sha256", lambda path: hashed.append(path.name) or real(path))
    another_process = Store(store.url, cache=tmp_path / "b")
    for _ in range(3):
        another_process.find("trace", KEY)
        another_process.fetch(ref)
    assert sorted(hashed) == sorted(FILES)


def test_a_damaged_copy_is_noticed_and_fetched_again(store: Store, elsewhere: Store, s3_gate: Any) -> None:
    ref = fill(store)
    copy = elsewhere.fetch(ref) / "a.txt"
    copy.write_bytes(b"hellO")
    assert cost(s3_gate, lambda: elsewhere.fetch(ref)) == (3, 5)
    assert copy.read_bytes() == b"hello"


def test_an_object_overwritten_with_as_many_other_bytes_makes_the_artifact_absent_for_all(
    store: Store, elsewhere: Store, s3_gate: Any
) -> None:
    """Also for who has good copies of its files."""
    ref = fill(store)
    elsewhere.fetch(ref)
    put(store, "a.txt", b"hellO")
    for look in (store, elsewhere):
        assert look.find("trace", KEY) is None
        with pytest.raises(ArtifactMissing, match="run again"):
            look.fetch(ref)
    s3_gate.open()
    fill(elsewhere)
    assert next(Path(path).name for method, path, _, _ in s3_gate.asked if method == "DELETE") == MANIFEST
    assert (store.fetch(ref) / "a.txt").read_bytes() == b"hello"


def test_an_object_whose_etag_lies_is_noticed_when_it_is_read_and_built_again(store: Store, elsewhere: Store) -> None:
    """As where bytes rot under a server: the manifest's word for the ETag is that of the damaged object."""
    ref = fill(store)
    put(store, "a.txt", b"hellO")
    filesystem, folder = store._filesystem, f"{store._root}/trace/{KEY}"
    etags = {name: filesystem.info(f"{folder}/{name}")["ETag"] for name in FILES}
    manifest = filesystem.cat_file(f"{folder}/{MANIFEST}").decode()
    wrong = manifest.replace("5d41402abc4b2a76b9719d911017c592", etags["a.txt"].strip('"'))
    assert wrong != manifest, "the MD5 of hello, which is its ETag"
    put(store, MANIFEST, wrong.encode())

    assert elsewhere.find("trace", KEY) is not None
    with pytest.raises(ArtifactMissing, match="run again"):
        elsewhere.fetch(ref)
    assert store.find("trace", KEY) is None, "for everybody"
    fill(elsewhere)
    assert (elsewhere.fetch(ref) / "a.txt").read_bytes() == b"hello"


def test_a_copy_of_a_store_whose_etags_differ_is_read_to_tell(store: Store, elsewhere: Store, s3_gate: Any) -> None:
    ref = fill(store)
    manifest = store._filesystem.cat_file(f"{store._root}/trace/{KEY}/{MANIFEST}").decode()
    put(store, MANIFEST, manifest.replace("5d41402abc4b2a76b9719d911017c592", "0" * 32 + "-2").encode())
    assert cost(s3_gate, lambda: elsewhere.find("trace", KEY)) == (3, 5)
    assert elsewhere.find("trace", KEY) == ref


def test_a_full_disk_under_the_copies_is_the_users_error_and_names_the_place(
    store: Store, elsewhere: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(remote: str, local: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    ref = fill(store)
    monkeypatch.setattr(elsewhere._filesystem, "get_file", full)
    with pytest.raises(DiskFull, match=f"^{tmp_path}/b: disk full"):
        elsewhere.fetch(ref)


BUILD = """
import sys
from pathlib import Path
from roastery.store import Store
with Store(sys.argv[1], cache=Path(sys.argv[2])).build("trace", "0" * 64) as build:
    (build.directory / "a.txt").write_text("made elsewhere")
"""


def test_what_another_process_writes_is_seen_at_once(store: Store, tmp_path: Path) -> None:
    assert store.find("trace", KEY) is None
    assert keys_in(store) == []
    subprocess.run([sys.executable, "-c", BUILD, store.url, str(tmp_path / "b")], check=True, timeout=60)
    ref = store.find("trace", KEY)
    assert ref is not None
    assert (store.fetch(ref) / "a.txt").read_text() == "made elsewhere"


@pytest.mark.parametrize(("megabytes", "parts"), [(6, 0), (101, 3)])
def test_large_files_are_sent_in_parts_and_verified(
    store: Store, elsewhere: Store, s3_gate: Any, tmp_path: Path, megabytes: int, parts: int
) -> None:
    """From twice 50 MB on s3fs sends parts of 50 MB, and above 50 MB it fetches them so."""
    content = os.urandom(1 << 20) * megabytes
    ref = fill(store, {"a.bin": content})
    assert sum("uploadId=" in path for method, path, _, _ in s3_gate.asked if method == "PUT") == parts
    assert cost(s3_gate, lambda: elsewhere.find("trace", KEY)) == (2, 0)
    assert (elsewhere.fetch(ref) / "a.bin").read_bytes() == content


def test_nothing_is_renamed_or_copied_and_nothing_but_the_artifact_stays(store: Store, s3_gate: Any) -> None:
    fill(store)
    assert {method for method, _, _, _ in s3_gate.asked} == {"GET", "PUT", "DELETE"}
    written = [Path(path).name for method, path, _, _ in s3_gate.asked if method == "PUT"]
    assert written[-1] == MANIFEST
    assert sorted(written[2:-1]) == sorted(FILES), "after the bucket and the lease"
    assert sorted(keys_in(store)) == sorted(f"trace/{KEY}/{name}" for name in [*FILES, MANIFEST])


@pytest.mark.parametrize("name", ["/.leases/", "/b.bin", f"/{MANIFEST}"])
def test_a_write_that_is_refused_and_then_allowed(store: Store, s3_gate: Any, name: str) -> None:
    s3_gate.stop("PUT", name, "AccessDenied", times=1)
    with pytest.raises(StoreRefused, match=r"^s3://.*: Access Denied; make it writable or name another store$"):
        fill(store)
    assert s3_gate.stopped == 1
    assert keys_in(store) == [], "no lease, and nothing half-written"
    ref = fill(store)
    assert store.find("trace", KEY) == ref


def test_a_store_that_refuses_to_be_cleaned_up_too_has_nothing_that_anybody_trusts(
    store: Store, s3_gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError("Access Denied")

    s3_gate.stop("PUT", f"/{MANIFEST}", "AccessDenied", times=1)
    with monkeypatch.context() as patched:
        patched.setattr(store._filesystem, "rm_file", refuse)
        with pytest.raises(StoreRefused):
            fill(store, FILES | {"left.txt": b"half"})
    assert f"trace/{KEY}/left.txt" in keys_in(store)
    assert store.find("trace", KEY) is None
    ref = fill(store)
    assert sorted(keys_in(store)) == sorted(f"trace/{KEY}/{name}" for name in [*FILES, MANIFEST])
    assert store.find("trace", KEY) == ref


def test_a_store_that_is_busy_for_a_moment_is_waited_for(store: Store, s3_gate: Any) -> None:
    s3_gate.stop("PUT", "/b.bin", "SlowDown", times=2)
    assert fill(store) == store.find("trace", KEY)
    assert s3_gate.stopped == 2


def test_a_store_that_stays_busy_may_be_asked_again(store: Store, s3_gate: Any) -> None:
    s3_gate.stop("PUT", "/b.bin", "SlowDown", times=100)
    with pytest.raises(StoreUnavailable, match=r"did not answer: Please reduce your request rate$"):
        fill(store)
    s3_gate.open()
    assert fill(store) == store.find("trace", KEY)


def test_an_upload_whose_answer_is_lost_is_made_again(store: Store, s3_gate: Any) -> None:
    s3_gate.stop("PUT", f"/{MANIFEST}", "cut", times=1)
    assert fill(store) == store.find("trace", KEY)
    assert s3_gate.stopped == 1


def test_a_file_of_which_the_store_kept_a_part_gets_no_manifest(store: Store, s3_gate: Any) -> None:
    s3_gate.stop("PUT", "/c.bin", "truncate", times=1)
    with pytest.raises(StoreUnavailable, match="the store has not kept all that it was given"):
        fill(store)
    assert store.find("trace", KEY) is None
    assert fill(store) == store.find("trace", KEY)


def test_a_read_that_is_refused_is_no_missing_artifact(store: Store, s3_gate: Any) -> None:
    ref = fill(store)
    s3_gate.stop("GET", f"/{MANIFEST}", "AccessDenied", times=2)
    with pytest.raises(StoreRefused):
        store.find("trace", KEY)
    with pytest.raises(StoreRefused):
        store.fetch(ref)
    assert store.find("trace", KEY) == ref


# Kills itself at the request whose method and key it is told, before it is sent.
KILLED = """
import os, signal, sys
from pathlib import Path
from s3fs import S3FileSystem
from roastery.store import Store
url, cache, key, method, part = sys.argv[1:]
call = S3FileSystem._call_s3
async def or_die(self, name, *args, **kwargs):
    if name == method and part in kwargs.get("Key", ""):
        os.kill(os.getpid(), signal.SIGKILL)
    return await call(self, name, *args, **kwargs)
S3FileSystem._call_s3 = or_die
with Store(url, cache=Path(cache)).build("trace", key) as build:
    (build.directory / "a.txt").write_text("half")
    (build.directory / "z.txt").write_text("half")
"""
POINTS = {
    "1" * 64: ("put_object", "a.txt"),
    "2" * 64: ("put_object", "z.txt"),
    "3" * 64: ("put_object", MANIFEST),
    "4" * 64: ("delete_object", ".leases"),
    # It is damaged, and cleared: its manifest first.
    "5" * 64: ("delete_object", MANIFEST),
    "6" * 64: ("delete_object", "a.txt"),
}


def test_a_builder_killed_at_any_request_leaves_what_the_next_makes_whole(store: Store, tmp_path: Path) -> None:
    filesystem = store._filesystem
    for key in ("5" * 64, "6" * 64):
        with store.build("trace", key) as build:
            (build.directory / "a.txt").write_text("whole")
        filesystem.pipe_file(f"{store._root}/trace/{key}/a.txt", b"WHOLE")
    builders = [
        subprocess.Popen([sys.executable, "-c", KILLED, store.url, str(tmp_path / "a"), key, *point])
        for key, point in POINTS.items()
    ]
    assert [builder.wait(60) for builder in builders] == [-9] * len(POINTS)

    done = {key for key in POINTS if store.find("trace", key) is not None}
    assert done == {"4" * 64}, "only that had all its files and its manifest"
    for key in POINTS.keys() - done:
        with store.build("trace", key) as build:
            assert build.found is None
            (build.directory / "a.txt").write_text("whole")
        assert (store.fetch(build.ref) / "a.txt").read_text() == "whole"
        assert {name for name in keys_in(store) if key in name} == {
            f"trace/{key}/{name}" for name in ("a.txt", MANIFEST)
        }
    assert list((tmp_path / "a" / ".work").iterdir()) == []


def test_a_copy_that_is_asked_for_stays(store: Store) -> None:
    ref = fill(store)
    folder = store.fetch(ref)
    os.utime(folder, (0, 0))
    store.fetch(ref)
    assert folder.stat().st_mtime > 1e9
    shutil.rmtree(folder)
    assert (store.fetch(ref) / "a.txt").read_bytes() == b"hello"
