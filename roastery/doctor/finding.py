"""What a check found, and how a check is kept from waiting for ever."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from roastery.errors import RoasteryError

State = Literal["ok", "missing", "warning", "wrong"]
"""missing: and not needed; warning: it works, but not for long or not for all."""

_WAY_OUT = "mend what it names, and look again"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what it is.
        state: how it is.
        found: its version, place or figure; or what is wrong with it.
        way_out: what to do, in one line; "" where nothing is to be done.
    """

    name: str
    state: State
    found: str
    way_out: str = ""


@dataclass(frozen=True)
class Check:
    """A look at one thing.

    Attributes:
        seconds: how many it may take.
        place: where the thing is, as it may be told: what is known of it when it does not answer.
    """

    name: str
    look: Callable[[], Finding]
    seconds: float = 60.0
    place: str = ""


def bounded(check: Check) -> Finding:
    """Look, for as long as the check may take: what hangs is left behind, and goes with the process."""
    answers: list[Finding | Exception] = []

    def look() -> None:
        try:
            answers.append(check.look())
        except Exception as error:  # noqa: BLE001  (whatever a broken installation raises is what is to be told)
            answers.append(error)

    thread = threading.Thread(target=look, daemon=True, name=f"looking at {check.name}")
    thread.start()
    thread.join(check.seconds)
    if not answers:
        said = f"timed out: no answer within {check.seconds:g} s"
        where = f"{check.place}: " if check.place else ""
        return Finding(check.name, "wrong", f"{where}{said}", "see whether it answers others, and look again")
    answer = answers[0]
    if isinstance(answer, Finding):
        return answer
    if isinstance(answer, RoasteryError):
        # The message has the way out in it.
        what, _, way_out = str(answer).rpartition("; ")
        return Finding(check.name, "wrong", what or way_out, way_out if what else _WAY_OUT)
    text = " ".join(str(answer).split())
    return Finding(check.name, "wrong", f"{type(answer).__name__}: {text[:300]}", _WAY_OUT)
