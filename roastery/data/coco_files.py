"""The files that COCO annotations name: each lies in its folder, and their bytes have one digest."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from roastery.data.coco_json import malformed
from roastery.digest import known_file_sha256
from roastery.errors import DatasetError

_NAMED = 5


def check_files(
    files: Sequence[tuple[int, Path]],
    folder: Path,
    annotations: Path,
    links_into: Path | None = None,
    what: str = "images",
) -> None:
    """Refuses a file that is not there, or that is not below the folder once links and '..' are followed.

    Args:
        files: image id, and the file below `folder`.
        links_into: a file may lie below this folder too, where a link below `folder` leads there.
        what: what the files are, for the error.

    Raises:
        DatasetError: such a file.
    """
    root = folder.resolve()
    linked = None if links_into is None else links_into.resolve()
    missing = []
    for identity, path in files:
        # `Path.resolve` fails on links that go round in a circle.
        real = Path(os.path.realpath(path))
        by_link = linked is not None and _is_below(path, folder) and real.is_relative_to(linked)
        if not real.is_relative_to(root) and not by_link:
            malformed(annotations, f"image {identity} ({str(path)[-80:]}) lies outside the image folder {folder}")
        # `Path.is_file` fails where the name is too long for any file.
        if not os.path.isfile(path):  # noqa: PTH113
            missing.append(os.path.relpath(real, root))
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise DatasetError(
            f"{folder}: {len(missing)} of {len(files)} {what} are missing: {', '.join(missing[:_NAMED])}{more}; "
            "restore them or correct the folder"
        )


def _is_below(path: Path, folder: Path) -> bool:
    """Whether it is by its name alone, whatever links make of it."""
    return path.is_relative_to(folder) and ".." not in path.relative_to(folder).parts


def digest_of(files: Iterable[Path]) -> str:
    """sha256 over the files' bytes in their order, whatever they are called: 64 hexadecimal digits.

    Raises:
        DatasetError: a file that cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        try:
            digest.update(f"{known_file_sha256(path)} {path.stat().st_size}\n".encode())
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
    return digest.hexdigest()
