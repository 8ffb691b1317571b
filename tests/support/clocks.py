"""Clocks that are set while programs run: by a library of our own (jumping_clock.c), which is loaded before libc."""

import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("jumping_clock.c")


def find_compiler() -> str | None:
    """The C compiler, where there is one."""
    return shutil.which("cc")


class Clock:
    """A clock of the day for the programs that have its `environment`. It goes right at first.

    Args:
        folder: an empty one, for its files.

    Raises:
        RuntimeError: there is no C compiler.
    """

    def __init__(self, folder: Path) -> None:
        compiler = find_compiler()
        if compiler is None:
            raise RuntimeError("there is no C compiler; install Debian's gcc")
        folder.mkdir(parents=True)
        library = folder / "clock.so"
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, _SOURCE], check=True)
        self._file = folder / "ahead"
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "ROASTERY_CLOCK": str(self._file)}

    def set(self, seconds: int) -> None:
        """Let it go so far ahead of the machine's, or back."""
        # In place: the programs look at these eight bytes.
        with self._file.open("r+b", buffering=0) as file:
            file.write(seconds.to_bytes(8, "little", signed=True))
