"""What is opened as a file is one."""

import os
from pathlib import Path

import pytest

from roastery.regular_file import require_regular


def test_a_file_and_a_link_to_one_pass(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    require_regular(tmp_path / "file")
    require_regular(tmp_path / "link")


def test_what_is_no_file_is_refused_in_words_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "to_device").symlink_to("/dev/zero")
    for name, said in {
        "pipe": "Is a pipe, a socket or a device",
        "to_device": "Is a pipe, a socket or a device",
        ".": "Is a directory",
        "missing": "No such file or directory",
        "circle": "Too many levels of symbolic links",
        "x" * 300: "File name too long",
        "nul\0": "No path has such characters",
        "half \ud800": "No path has such characters",
    }.items():
        with pytest.raises(OSError) as caught:  # noqa: PT011
            require_regular(tmp_path / name)
        assert str(caught.value.strerror).startswith(said), name
