"""An output folder that is whole or as it was: built beside its place, and put there in one step."""

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from roastery.errors import OutputError
from roastery.umask import current_umask

_FULL = {
    errno.ENOSPC: "no space is left on its disk",
    errno.EDQUOT: "its disk quota is used up",
    errno.EFBIG: "a file may not become that large",
}
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def replaced_folder(output: Path, ours: Collection[str]) -> Iterator[Path]:
    """A new folder beside `output` that takes its place when the block ends; after an error nothing is left of it.

    Args:
        output: a folder, existing or not. One that exists may hold only files of the names in `ours`, and is replaced
            with all that is in it.

    Raises:
        OutputError: `output` is a file, holds something else, cannot be written, or its disk is full.
    """
    output = Path(os.path.abspath(output))  # noqa: PTH100  (as `..` is written, without following links)
    _check(output, ours)
    try:
        made = _make_parents(output)
        staging = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise refusal(output, error) from error
    whole = False
    try:
        yield staging
        # mkdtemp gives a folder that only its owner may enter.
        staging.chmod(0o777 & ~current_umask())
        _put(staging, output)
        whole = True
    except OSError as error:
        # The block may meet an error that has nothing to do with the folder: that one is not ours to explain.
        if error.errno not in _FULL and not str(error.filename).startswith((str(staging), str(output))):
            raise
        raise refusal(output, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not whole:
            for parent in made:
                parent.rmdir()


def _check(output: Path, ours: Collection[str]) -> None:
    if not output.exists():
        if output.is_symlink():
            raise OutputError(f"{output}: a link that leads nowhere; remove it or name another folder")
        return
    if not output.is_dir():
        raise OutputError(f"{output}: is a file; name a folder for the converted model")
    strangers = sorted(entry.name for entry in output.iterdir() if entry.name not in ours or not entry.is_file())
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        raise OutputError(
            f"{output}: holds what is no converted model ({strangers[0]!r}{more}); name a new or an empty folder"
        )


def _make_parents(output: Path) -> list[Path]:
    """The parents that were not there, made; the innermost first."""
    missing = [parent for parent in output.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir()
    return missing


def _put(staging: Path, output: Path) -> None:
    # A link to a folder stays a link; what it leads to is replaced.
    output = output.resolve()
    if not output.exists() or not any(output.iterdir()):
        staging.replace(output)
    elif not _exchange(staging, output):
        # The next best: for a moment there is no folder of the name.
        old = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
        output.replace(old)
        try:
            staging.replace(output)
        except OSError:
            old.replace(output)
            raise
        shutil.rmtree(old)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def refusal(place: Path, error: OSError, left: str = "Nothing was written") -> OutputError:
    """The error for a folder that could not be written, with what is left there."""
    reason = _FULL.get(error.errno or 0)
    if reason:
        return OutputError(f"{place}: {reason}; make room or name another folder. {left}")
    return OutputError(f"{place}: cannot be written ({error.strerror or error}); name another folder")
