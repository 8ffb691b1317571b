"""The one user of servers that ask who is there: named in the environment, never on a command line."""

import os
from dataclasses import dataclass

from roastery.errors import ConfigError

VARIABLE = "ROASTERY_AUTH"
_SHORTEST = 12
"""What MLflow takes."""


@dataclass(frozen=True)
class Credentials:
    """A user and a password. Its `repr` does not show them."""

    user: str
    password: str

    def __repr__(self) -> str:
        return "Credentials(...)"


def read_credentials() -> Credentials:
    """The user and the password of ROASTERY_AUTH.

    Raises:
        ConfigError: it is not there, or not what servers take. What it holds is not said.
    """
    user, colon, password = os.environ.get(VARIABLE, "").partition(":")
    if not (user and colon and password):
        raise ConfigError(f"{VARIABLE}: not set to a user and a password; set it, as in {VARIABLE}=USER:PASSWORD")
    if len(password) < _SHORTEST:
        raise ConfigError(f"{VARIABLE}: its password is shorter than {_SHORTEST} letters, which MLflow refuses")
    if not all(letter.isprintable() and letter.isascii() for letter in user + password):
        raise ConfigError(f"{VARIABLE}: holds letters that a header of HTTP cannot; use those of ASCII")
    return Credentials(user, password)
