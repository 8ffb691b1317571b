import errno
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from roastery import output_folder
from roastery.errors import OutputError
from roastery.output_folder import replaced_folder

OURS = frozenset({"model.pb", "manifest.json"})


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def write(folder, text="new"):
    for name in OURS:
        (folder / name).write_text(text)


def test_what_is_written_in_the_block_is_there_afterwards_and_not_before(tmp_path):
    with replaced_folder(tmp_path / "out", OURS) as staging:
        write(staging)
        assert not (tmp_path / "out").exists()

    assert tree(tmp_path) == ["out", "out/manifest.json", "out/model.pb"]


def test_the_folder_is_as_open_as_any_other(tmp_path):
    (tmp_path / "plain").mkdir()
    with replaced_folder(tmp_path / "out", OURS) as staging:
        write(staging)

    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def write_and_raise(output, error):
    with replaced_folder(output, OURS) as staging:
        write(staging)
        raise error


def refuse_to_start(output):
    with replaced_folder(output, OURS):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_after_an_error_nothing_is_left_neither_the_folder_nor_its_parents(tmp_path, error):
    with pytest.raises(type(error)):
        write_and_raise(tmp_path / "a/b/out", error)

    assert tree(tmp_path) == []


def test_after_an_error_what_was_there_is_as_it_was(tmp_path):
    with replaced_folder(tmp_path / "out", OURS) as staging:
        write(staging, "old")

    with pytest.raises(ValueError, match="no"):
        write_and_raise(tmp_path / "out", ValueError("no"))

    assert tree(tmp_path) == ["out", "out/manifest.json", "out/model.pb"]
    assert (tmp_path / "out/model.pb").read_text() == "old"


@pytest.mark.parametrize("exchange", [output_folder._exchange, lambda one, other: False], ids=["one step", "two"])
def test_our_own_files_are_replaced_and_none_of_the_old_ones_stays(tmp_path, monkeypatch, exchange):
    monkeypatch.setattr(output_folder, "_exchange", exchange)
    with replaced_folder(tmp_path / "out", OURS) as staging:
        write(staging, "old")

    with replaced_folder(tmp_path / "out", OURS) as staging:
        (staging / "model.pb").write_text("new")

    assert tree(tmp_path) == ["out", "out/model.pb"]
    assert (tmp_path / "out/model.pb").read_text() == "new"


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    with replaced_folder(tmp_path / "out", OURS) as staging:
        write(staging)

    assert tree(tmp_path / "out") == ["manifest.json", "model.pb"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    with replaced_folder(tmp_path / "out", OURS) as staging:
        write(staging)

    assert (tmp_path / "out").is_symlink()
    assert tree(tmp_path / "real") == ["manifest.json", "model.pb"]


@pytest.mark.parametrize("stranger", ["notes.txt", ".git/", "model.pb/"])
def test_a_folder_with_anything_else_in_it_is_refused_and_left_alone(tmp_path, stranger):
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / stranger
    path.mkdir() if stranger.endswith("/") else path.write_text("mine")

    with pytest.raises(OutputError, match=rf"holds what is no converted model \('{stranger.rstrip('/')}'\)"):
        refuse_to_start(tmp_path / "out")

    assert tree(tmp_path) == ["out", f"out/{stranger.rstrip('/')}"]


def test_a_file_is_refused_and_left_alone(tmp_path):
    (tmp_path / "out").write_text("mine")

    with pytest.raises(OutputError, match="is a file; name a folder"):
        refuse_to_start(tmp_path / "out")

    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")

    with pytest.raises(OutputError, match="cannot be written"):
        refuse_to_start(tmp_path / "file/out")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, code):
    with pytest.raises(OutputError, match="Nothing was written") as caught:
        write_and_raise(tmp_path / "a/out", OSError(code, os.strerror(code)))

    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == []


def test_an_error_of_another_file_is_not_blamed_on_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        write_and_raise(tmp_path / "out", FileNotFoundError(errno.ENOENT, "No such file", "/elsewhere/x"))

    assert tree(tmp_path) == []


@pytest.fixture
def tiny_disk():
    """A disk of 64 KB, where this user may mount one."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False, capture_output=True
        )
        if mounted.returncode:
            pytest.skip("mounting a disk takes root's rights; the other full-disk tests inject the error")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def test_a_truly_full_disk_is_one_line_and_leaves_nothing(tiny_disk):
    with pytest.raises(OutputError, match="no space is left"), replaced_folder(tiny_disk / "out", OURS) as staging:
        (staging / "model.pb").write_bytes(b"x" * (1 << 20))

    assert tree(tiny_disk) == []
