"""A look at a package in a process of its own: a broken one fails at import, or takes the process with it."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

IMPORT_SECONDS = 60.0


@dataclass(frozen=True)
class Said:
    """What the process printed last, as JSON; or else what went wrong, in one line."""

    answer: Any = None
    error: str = ""


def ask(source: str, command: Sequence[str] = (sys.executable, "-P"), seconds: float = IMPORT_SECONDS) -> Said:
    """Run a Python source in a process of its own, for so long."""
    try:
        ended = subprocess.run(
            [*command, "-W", "ignore", "-c", source],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return Said(error=f"timed out: it was not imported within {seconds:g} s")
    except OSError as error:
        return Said(error=f"{command[0]}: {error.strerror}")
    if ended.returncode == 0:
        try:
            return Said(json.loads(ended.stdout.strip().splitlines()[-1]))
        except (ValueError, IndexError, RecursionError):
            return Said(error="its process ended without an answer")
    if ended.returncode < 0:
        return Said(error=f"its process was ended by {signal.Signals(-ended.returncode).name}")
    # The last line of a traceback says what it is about.
    lines = ended.stderr.strip().splitlines()
    return Said(error=lines[-1].strip()[:300] if lines else f"its process ended with {ended.returncode}")
