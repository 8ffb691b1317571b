"""References to registered models, as MLflow writes them: `models:/<name>/<version>`, `models:/<name>@<alias>`."""

import re
from dataclasses import dataclass

from roastery.errors import ConfigError

SCHEME = "models:/"
REFERENCE = r"models:/[A-Za-z0-9][A-Za-z0-9_.-]{0,79}(?:/[1-9][0-9]{0,8}|@[A-Za-z0-9][A-Za-z0-9_-]{0,79})"
"""Of a source model: its name is one that a ModelSpec may have."""

_PARTS = re.compile(r"(?P<name>[^/@]+)(?:/(?P<version>[1-9][0-9]{0,8})|@(?P<alias>[A-Za-z0-9][\w-]{0,79}))")


@dataclass(frozen=True)
class Reference:
    """A version by its number, or by an alias."""

    name: str
    version: int | None
    alias: str | None


def is_reference(text: str) -> bool:
    """Whether a model is named by its place in the registry."""
    return text.startswith(SCHEME)


def parse_reference(text: str) -> Reference:
    """What a reference says; `models:/` may be left out.

    Raises:
        ConfigError: it is none.
    """
    parts = _PARTS.fullmatch(text.removeprefix(SCHEME))
    if parts is None:
        raise ConfigError(f"{text}: is no registered model; write models:/NAME/VERSION or models:/NAME@ALIAS")
    return Reference(parts["name"], int(parts["version"]) if parts["version"] else None, parts["alias"])


def named(text: str) -> str:
    """The model's name in a name or a reference."""
    return parse_reference(text).name if is_reference(text) else text
