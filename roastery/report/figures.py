"""How figures of AP are told: rounded, signed, and a dash for what is no number."""

import math

from roastery.evaluation.gate import MAIN_METRICS, GatePolicy
from roastery.report.document import Cell

NONE = "–"  # noqa: RUF001  (an en dash, as tables have it)


def number(value: float | None) -> float | None:
    """The value, or None for what is no number."""
    return value if value is not None and math.isfinite(value) else None


def figure(value: float | None, digits: int = 2) -> str:
    return NONE if number(value) is None else f"{value:.{digits}f}"


def difference(before: float | None, after: float | None) -> float | None:
    """Converted minus original, None where either is no number. Rounded as the gate rounds it."""
    one, other = number(before), number(after)
    return None if one is None or other is None else round(other - one, 6)


def distance(before: float | None, after: float | None) -> float:
    """How far two figures are apart; one that is no number is further than any."""
    if number(before) is None and number(after) is None:
        return 0.0
    delta = difference(before, after)
    return math.inf if delta is None else abs(delta)


def signed(delta: float | None, digits: int = 2) -> str:
    if delta is None:
        return NONE
    # What rounds to nothing has no sign.
    return f"{delta:+.{digits}f}" if round(delta, digits) else f"{0:.{digits}f}"


def difference_cell(metric: str, before: float | None, after: float | None, gate: GatePolicy, digits: int = 2) -> Cell:
    """The difference of a metric, toned by what the gate says of it, or would say of one that it does not judge."""
    delta = difference(before, after)
    text = signed(delta, digits)
    if delta is None:
        undefined_in_both = number(before) is None and number(after) is None
        return Cell(text, "bad" if metric in MAIN_METRICS or not undefined_in_both else "plain")
    if metric in MAIN_METRICS:
        return Cell(text, "good" if gate.allows(delta) else "bad")
    return Cell(text, "plain" if gate.allows(delta) else "notable")
