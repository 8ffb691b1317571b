"""How long ago something was, in one word, and such words read."""

import re
from datetime import datetime, timedelta

from roastery.errors import ConfigError

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[mhdw])")


def age(since: datetime, now: datetime) -> str:
    """3 min, 5 h, 12 d."""
    seconds = max(0.0, (now - since).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def parse_age(option: str, text: str) -> timedelta:
    """12h, 7d, 0.

    Args:
        option: that says it, for the error.

    Raises:
        ConfigError: it is none.
    """
    if text == "0":
        return timedelta()
    parts = _AGE.fullmatch(text)
    if parts is None:
        raise ConfigError(f"{option}: {text!r} is no age; say a number with m, h, d or w, such as 12h or 7d, or 0")
    return timedelta(**{_UNITS[parts["unit"]]: int(parts["count"])})
