import errno
import json
import os

import pytest
from PIL import Image

import roastery.prediction.output
from roastery.errors import OutputError
from roastery.prediction.output import check_pictures, check_results, save_picture, save_results


@pytest.fixture
def picture():
    return Image.new("RGB", (4, 3), (1, 2, 3))


def test_a_picture_is_written_with_its_folder_and_replaced_again(picture, tmp_path):
    save_picture(picture, tmp_path / "some/folder/a.png")
    check_pictures(tmp_path / "some/folder", ["a.png", "b.png"])
    save_picture(picture, tmp_path / "some/folder/a.png")

    assert Image.open(tmp_path / "some/folder/a.png").getpixel((0, 0)) == (1, 2, 3)
    assert [path.name for path in (tmp_path / "some/folder").iterdir()] == ["a.png"]


def test_what_was_not_made_here_is_not_replaced(picture, tmp_path):
    picture.save(tmp_path / "theirs.png")
    (tmp_path / "text.png").write_text("mine")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")

    for name in ("theirs.png", "text.png", "folder.png", "pipe.png", "link.png"):
        with pytest.raises(OutputError, match=rf"{name}: is there, and no picture of roastery predict"):
            check_pictures(tmp_path, ["a.png", name])


def test_a_folder_that_is_a_file_or_in_one_is_refused(tmp_path):
    (tmp_path / "file").touch()

    for folder in (tmp_path / "file", tmp_path / "file/deeper/out"):
        with pytest.raises(OutputError, match="file: is no folder"):
            check_pictures(folder, ["a.png"])


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    with pytest.raises(OutputError, match="may not be written to"):
        check_pictures(tmp_path / "out", ["a.png"])


def test_results_are_replaced_by_results_alone(tmp_path):
    path = tmp_path / "found.json"
    check_results(path)
    save_results([{"score": 0.5}], path)
    check_results(path)
    save_results([], path)

    assert json.loads(path.read_text()) == []
    path.write_text('{"images": []}')
    with pytest.raises(OutputError, match="holds no COCO results"):
        check_results(path)
    with pytest.raises(OutputError, match="holds no COCO results"):
        check_results(tmp_path)


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "no space is left"), (errno.EROFS, "cannot be written")])
def test_what_cannot_be_written_leaves_nothing(picture, tmp_path, monkeypatch, code, words):
    def fail(path, content):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(roastery.prediction.output, "write_whole", fail)

    with pytest.raises(OutputError, match=words):
        save_picture(picture, tmp_path / "some/folder/a.png")
    assert list(tmp_path.iterdir()) == []
