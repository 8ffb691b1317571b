"""Clocks that are set while programs run: by Debian's faketime, in their environment."""

from pathlib import Path


def find_faketime() -> Path | None:
    """The library that stands before the system's clock, for programs of several threads; None without it."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def faked_clock(file: Path) -> dict[str, str]:
    """The environment of a program whose clock of the day goes as far from the machine's as the file says: "+3600".

    Raises:
        RuntimeError: faketime is not installed.
    """
    library = find_faketime()
    if library is None:
        raise RuntimeError("faketime is not installed; install Debian's faketime")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Dates of files are the disk's own.
        "NO_FAKE_STAT": "1",
    }


def set_clock(file: Path, seconds: str) -> None:
    """Let the programs that go by the file read another time: all of it at once."""
    other = file.with_suffix(".new")
    other.write_text(seconds)
    other.replace(file)
