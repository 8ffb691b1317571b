"""Questions of figures: `ap_delta_bbox < -0.1 and ap_bbox >= 40`."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from roastery.errors import ConfigError

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_CONDITION = re.compile(
    r"\s*(?:`(?P<quoted>[\w./\- :]{1,250})`|(?P<name>[\w./\-:]{1,250}?))\s*(?P<sign><=|>=|!=|==|=|<|>)\s*"
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)\s*"
)
_AND = re.compile(r"and\b", re.IGNORECASE)
_LONGEST = 2000


@dataclass(frozen=True)
class Condition:
    """A metric, compared with a number."""

    metric: str
    sign: str
    number: float

    def holds(self, figures: Mapping[str, float]) -> bool:
        """Whether it holds of these figures; of one that is not there, nothing does."""
        return self.metric in figures and _OPERATORS[self.sign](figures[self.metric], self.number)

    def __str__(self) -> str:
        """As MLflow's search of logged models has it."""
        # Its parser takes 1.5e16, but not 1.5e+16.
        return f"metrics.`{self.metric}` {self.sign} {repr(self.number).replace('e+', 'e')}"


def parse_where(text: str) -> tuple[Condition, ...]:
    """The conditions of a question, all of which are to hold.

    Raises:
        ConfigError: it is not made of `METRIC SIGN NUMBER` with `and` between them.
    """
    conditions, place = [], 0
    while len(text) <= _LONGEST and (found := _CONDITION.match(text, place)):
        number = float(found["number"])
        if not math.isfinite(number):
            break
        sign = "=" if found["sign"] == "==" else found["sign"]
        conditions.append(Condition(found["quoted"] or found["name"], sign, number))
        place = found.end()
        if place == len(text):
            return tuple(conditions)
        joined = _AND.match(text, place)
        if joined is None:
            break
        place = joined.end()
    raise ConfigError(
        f"--where {text[:80]!r}: cannot be read at {text[place : place + 20]!r}; write METRIC < NUMBER, with `and` "
        'between several, as in "ap_delta_bbox < -0.1"'
    )
