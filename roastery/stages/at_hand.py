"""What a stage has in memory of the file that it wrote: the next one in the same process need not read the file.

It is named by the file's digest. Nothing hangs on it: where it is not there, or the file is another, the file is read.
"""

from typing import Any

_held: dict[str, tuple[str, Any]] = {}


def leave(stage: str, sha256: str, made: Any) -> None:
    """Leave what was written to the file of that digest, for the stage that comes next."""
    _held[stage] = sha256, made


def take(stage: str, sha256: str) -> Any | None:
    """What that stage left of the file of that digest; it is here no longer. None where it left nothing of it."""
    held, made = _held.pop(stage, (None, None))
    return made if held == sha256 else None


def keep_of(stage: str | None) -> None:
    """Let go what other stages than that one left: it holds models."""
    for other in [each for each in _held if each != stage]:
        del _held[other]
