"""The copies of a remote store's files: what is trusted, and what goes."""

import os
from pathlib import Path

from roastery.artifact_cache import ArtifactCache, work_folder
from roastery.digest import file_sha256


def kept(cache: ArtifactCache, content: bytes) -> str:
    with cache.partial("file") as partial:
        partial.write_bytes(content)
        sha256 = file_sha256(partial)
        cache.keep(partial, "trace", "key", "file", sha256)
    return sha256


def test_a_copy_is_there_for_its_digest_alone_and_for_other_processes(tmp_path: Path) -> None:
    cache, another_process = ArtifactCache(tmp_path), ArtifactCache(tmp_path)
    assert not cache.has("trace", "key", "file", "0" * 64)
    sha256 = kept(cache, b"hello")
    for each in (cache, another_process):
        assert each.has("trace", "key", "file", sha256)
        assert not each.has("trace", "key", "file", "0" * 64)
    (cache.artifact("trace", "key") / "file").write_bytes(b"hellO")
    for each in (cache, another_process):
        assert not each.has("trace", "key", "file", sha256)


def test_a_copy_that_another_takes_the_place_of_can_still_be_read_by_who_has_it_open(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path)
    kept(cache, b"first")
    with (cache.artifact("trace", "key") / "file").open("rb") as reading:
        kept(cache, b"second")
        assert reading.read() == b"first"


def test_what_was_not_kept_is_removed(tmp_path: Path) -> None:
    with ArtifactCache(tmp_path).partial("file") as partial:
        partial.write_bytes(b"half")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_work_folders_of_one_name_are_two(tmp_path: Path) -> None:
    with work_folder(tmp_path, "trace-key") as one, work_folder(tmp_path, "trace-key") as other:
        assert one != other
        assert list(one.iterdir()) == list(other.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_copies_that_nobody_asked_for_in_a_week_and_what_killed_processes_left_go(tmp_path: Path) -> None:
    week = 8 * 24 * 3600
    for name in ("trace/old", "trace/new", ".work/partial-old", ".work/partial-new"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x")
        if name.endswith("old"):
            status = folder.stat()
            os.utime(folder, (status.st_atime - week, status.st_mtime - week))
    cache = ArtifactCache(tmp_path)
    with cache.partial("file") as partial:
        partial.write_bytes(b"y")
        cache.keep(partial, "trace", "another", "file", "0")
    left = {str(folder.relative_to(tmp_path)) for folder in tmp_path.glob("*/*")}
    assert left == {"trace/new", "trace/another", ".work/partial-new"}
