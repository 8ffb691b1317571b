"""Graphviz: which one draws `model.svg`, without drawing anything."""

import shutil
import subprocess
from functools import cache

_SECONDS = 60.0


@cache
def drawing_identity() -> str | None:
    """The version of graphviz's `dot`; None where it is not installed, and nothing is drawn."""
    dot = shutil.which("dot")
    if dot is None:
        return None
    try:
        said = subprocess.run([dot, "-V"], check=True, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return (said.stdout + said.stderr).strip().rpartition("version ")[2]
