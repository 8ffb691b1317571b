"""The targets as a command line's choices."""

from enum import StrEnum

from roastery.targets import TARGETS

TargetChoice = StrEnum("TargetChoice", {name: name for name in TARGETS})  # type: ignore[misc]
"""One for each target that there is."""
