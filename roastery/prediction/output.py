"""Where pictures and results go: nothing is replaced that was not made here, and nothing is half-written."""

import contextlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from roastery.errors import OutputError
from roastery.output_folder import refusal
from roastery.regular_file import require_regular
from roastery.whole_file import write_whole

_KEY, _MARK = "Software", "roastery predict"
"""A PNG's text by which a picture that was made here is known again."""


def check_pictures(folder: Path, names: Iterable[str]) -> None:
    """Refuse, before anything is done, a folder that pictures of these names cannot be written to.

    Raises:
        OutputError: it is a file or may not be written to, or one of the files is there and was not made here.
    """
    _check_folder(folder)
    for name in names:
        path = folder / name
        if os.path.lexists(path) and not _is_ours(path):
            raise OutputError(f"{path}: is there, and no picture of roastery predict; name another folder")


def check_results(path: Path) -> None:
    """Refuse, before anything is done, a file that results cannot be written to.

    Raises:
        OutputError: it is no plain file, holds something else than results, or its folder may not be written to.
    """
    _check_folder(path.parent)
    if os.path.lexists(path) and not _holds_a_list(path):
        raise OutputError(f"{path}: is there, and holds no COCO results; name another file")


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG, whole or not at all, and the folder where it is missing.

    Raises:
        OutputError: it cannot be written.
    """
    mark = PngInfo()
    mark.add_text(_KEY, _MARK)
    content = io.BytesIO()
    picture.save(content, "PNG", pnginfo=mark)
    _write(path, content.getvalue())


def save_results(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write COCO results as JSON, whole or not at all, and the folder where it is missing.

    Raises:
        OutputError: it cannot be written.
    """
    _write(path, json.dumps(results, separators=(",", ":"), allow_nan=False).encode())


def _write(path: Path, content: bytes) -> None:
    folder = path.parent
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        for each in missing:
            with contextlib.suppress(OSError):
                each.rmdir()
        raise refusal(folder, error, "What is written is whole") from error


def _check_folder(folder: Path) -> None:
    absolute = folder.absolute()
    nearest = next(each for each in (absolute, *absolute.parents) if os.path.lexists(each))
    if not nearest.is_dir():
        raise OutputError(f"{nearest}: is no folder; name another place for what is written")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{nearest}: may not be written to; name another folder")


def _is_ours(path: Path) -> bool:
    try:
        require_regular(path)
        with Image.open(path, formats=["PNG"]) as picture:
            return bool(picture.info.get(_KEY) == _MARK)
    except (OSError, SyntaxError, ValueError):
        return False


def _holds_a_list(path: Path) -> bool:
    try:
        require_regular(path)
        with path.open("rb") as file:
            return file.read(1) == b"["
    except OSError:
        return False
