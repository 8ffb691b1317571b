"""How long ago something was, in one word, and such words read."""

import re
from datetime import datetime, timedelta

from roastery.errors import ConfigError

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "min": "minutes", "s": "seconds"}
_AGE = re.compile(r"(?P<count>\d{1,6})\s*(?P<unit>d|h|min|m|s)?")


def age(since: datetime, now: datetime) -> str:
    """3 min, 5 h, 12 d."""
    seconds = max(0.0, (now - since).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def parse_age(text: str) -> timedelta:
    """12h, 7d, 90min; a number alone is days.

    Raises:
        ConfigError: it is none.
    """
    parts = _AGE.fullmatch(text.strip())
    if parts is None:
        raise ConfigError(f"{text}: is no age; write 7d, 12h or 30min")
    return timedelta(**{_UNITS[parts["unit"] or "d"]: int(parts["count"])})
