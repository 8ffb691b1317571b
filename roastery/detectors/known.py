"""Names of parts that a config may ask for, and what is said of those that have no deployable form."""

from collections.abc import Iterable

from roastery.errors import ConfigError
from roastery.projects import PARTS


def require_known(key: str, name: str, known: Iterable[str]) -> None:
    """Make sure that a config key names a part that there is.

    Raises:
        ConfigError: it names another; in one line with the operator that it lacks, where that is known.
    """
    names = [each for each in known if each]
    if name in names:
        return
    if name in PARTS:
        raise ConfigError(f"{key}: {name!r} cannot be converted: {PARTS[name]}")
    way_out = names[0] if len(names) == 1 else f"one of {', '.join(names)}"
    raise ConfigError(
        f"{key}: {name!r} has no Caffe2 form here; use {way_out}, or name the module that registers it in "
        "custom_modules (--custom-module)"
    )
