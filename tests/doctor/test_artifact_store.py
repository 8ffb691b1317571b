"""The store is really written and read, and nothing is left in it."""

import uuid
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from roastery.doctor.artifact_store import look_at_store
from roastery.doctor.finding import Check, bounded
from roastery.filesystem import open_filesystem


def test_a_store_is_written_and_read_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "trace").mkdir()
    found = look_at_store(str(tmp_path))
    assert found.state == "ok"
    assert "readable and writable, 1 stage" in found.found
    assert [path.name for path in tmp_path.rglob("*")] == ["trace"]


def test_a_store_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    found = look_at_store(str(tmp_path / "a" / "store"))
    assert (found.state, "not there yet" in found.found) == ("ok", True)
    assert list(tmp_path.iterdir()) == []


def test_a_store_on_another_filesystem_is_written_and_read_and_left_as_it_was() -> None:
    memory = fsspec.filesystem("memory")
    root = f"/{uuid.uuid4().hex}"
    memory.pipe_file(f"{root}/trace/key/manifest.json", b"{}")
    assert look_at_store(f"memory:/{root}").state == "ok"
    assert memory.find(root) == [f"{root}/trace/key/manifest.json"]


def test_a_store_that_does_not_keep_what_is_written_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roastery.doctor.artifact_store.read", lambda filesystem, path: b"")
    assert look_at_store(str(tmp_path)).state == "wrong"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_store_under_a_file_is_wrong(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    found = bounded(Check("artifact store", lambda: look_at_store(str(tmp_path / where))))
    assert found.state == "wrong"
    assert found.way_out == "name another store"


def test_a_store_of_an_unknown_kind_is_wrong_with_the_way_out() -> None:
    found = bounded(Check("artifact store", lambda: look_at_store("nosuch://place")))
    assert (found.state, found.way_out) == ("wrong", "name a folder or an fsspec URL")


def test_a_store_on_s3_is_written_and_read_and_left_as_it_was(s3: str) -> None:
    store = f"{s3}/prefix"
    assert look_at_store(store).state == "ok"
    filesystem, root = open_filesystem(store)
    assert filesystem.find(root) == []


def test_a_bucket_that_is_not_there_is_wrong_with_the_way_out(s3: str) -> None:
    found = bounded(Check("artifact store", lambda: look_at_store(f"{s3}-that-is-not-there/prefix")))
    assert (found.state, found.way_out) == ("wrong", "create the bucket or name another store")


def test_a_store_that_does_not_answer_is_wrong_with_the_way_out(free_port: Callable[[], int]) -> None:
    found = look_at_store(f"http://127.0.0.1:{free_port()}/store")
    assert (found.state, "the store did not answer" in found.found) == ("wrong", True)
    assert "ROASTERY_STORE" in found.way_out
