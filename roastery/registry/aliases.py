"""Which version is called what. Every move of an alias is on record, with its reason, in a tag of the model.

`candidate` and `validated` are the gate's: they go to what passes, and are taken from what does not any more. Others,
as `production`, are people's, by `promote` and `roll_back`.
"""

import getpass
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from roastery.errors import ConfigError
from roastery.registry.record import CANDIDATE, VALIDATED

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

GATES = (CANDIDATE, VALIDATED)
"""The lower one first."""
PRODUCTION = "production"
PIPELINE = "roastery"
"""Who moved an alias, where no person did."""

_MOVE_TAG = "roastery.move."
# MLflow's own rule (mlflow/utils/validation.py, 3.17), without what it keeps for versions and for the newest one.
_ALIAS = re.compile(r"(?!v\d+$)(?!latest$)[A-Za-z0-9][\w-]{0,79}", re.IGNORECASE)
_LONGEST_REASON = 2000
_Stack = tuple[int | None, ...]


class Move(BaseModel):
    """An alias that was given, taken away or moved."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    """UTC."""
    alias: str
    from_version: int | None
    to_version: int | None
    reason: str
    by: str
    back: bool = False
    """Whether it was a rollback."""


def moves(model: "RegisteredModel") -> list[Move]:
    """All of them, the oldest first. What somebody else wrote under such a tag is left out."""
    found = []
    for name in sorted(name for name in model.tags if name.startswith(_MOVE_TAG)):
        try:
            found.append(Move.model_validate_json(model.tags[name]))
        except ValidationError:
            continue
    return found


def holders(model: "RegisteredModel") -> dict[str, int]:
    """Alias to version."""
    return {alias: int(version) for alias, version in model.aliases.items()}


def move(
    client: "MlflowClient",
    name: str,
    alias: str,
    to_version: int | None,
    reason: str,
    by: str = PIPELINE,
    back: bool = False,
) -> Move | None:
    """Give an alias to a version, or take it away. The caller is the sole writer.

    Returns:
        The move; None where the alias was there already, and nothing was done.
    """
    model = client.get_registered_model(name)
    held = holders(model).get(alias)
    if held == to_version:
        return None
    now = datetime.now(UTC)
    made = Move(
        at=now,
        alias=alias,
        from_version=held,
        to_version=to_version,
        reason=reason[:_LONGEST_REASON],
        by=by,
        back=back,
    )
    # On record first: a move without a reason is worse than a reason without its move, which the next attempt makes.
    client.set_registered_model_tag(name, f"{_MOVE_TAG}{now:%Y%m%dT%H%M%S.%f}", made.model_dump_json())
    if to_version is None:
        client.delete_registered_model_alias(name, alias)
    else:
        client.set_registered_model_alias(name, alias, str(to_version))
    return made


def take_aliases(client: "MlflowClient", name: str, version: int, reason: str) -> tuple[str, ...]:
    """Take the gate's aliases from a version. The caller is the sole writer.

    Returns:
        Those that it lost for that reason, now or in an earlier attempt.
    """
    held = holders(client.get_registered_model(name))
    for alias in GATES:
        if held.get(alias) == version:
            move(client, name, alias, None, reason)
    made = moves(client.get_registered_model(name))
    return tuple(each.alias for each in made if each.reason == reason and each.to_version is None)


def legal_alias(alias: str) -> str:
    """A person's alias.

    Raises:
        ConfigError: it is one of the gate's, or none that MLflow takes.
    """
    # Some databases do not tell small letters from capitals.
    if alias.lower() in GATES:
        raise ConfigError(f"alias {alias!r} is the gate's: a version earns it by passing; promote to another one")
    if not _ALIAS.fullmatch(alias):
        raise ConfigError(f"alias {alias!r} is none that MLflow takes; use letters, digits, '-' and '_'")
    return alias


def stated(reason: str) -> str:
    """A reason that says something.

    Raises:
        ConfigError: it is empty.
    """
    if not reason.strip():
        raise ConfigError("a move of an alias goes on record with its reason; say one with --reason")
    return reason


def require_passed(version: "ModelVersion") -> None:
    """Raises:
    ConfigError: the version did not pass its gate, or does not any more.
    """
    if version.tags.get("verdict") != "passed":
        raise ConfigError(f"{version.name} version {version.version} did not pass its gate; promote one that did")
    if version.tags.get("reevaluation") == "failed":
        raise ConfigError(
            f"{version.name} version {version.version} passed once, but not when it was measured again "
            f"({version.tags.get('reevaluated', 'unknown when')}); promote one that passes"
        )


def version_before(model: "RegisteredModel", alias: str) -> int:
    """The version that held an alias before the one that holds it now was promoted, however often that one held it.

    Raises:
        ConfigError: none holds it, or none did before.
    """
    held = holders(model).get(alias)
    if held is None:
        raise ConfigError(f"{model.name}: no version is called {alias!r}; promote one first")
    earlier: _Stack = ()
    stack: _Stack = ()
    for each in moves(model):
        if each.alias == alias:
            earlier = _as_found(earlier, stack, each.from_version)
            stack = earlier[:-1] if each.back else (*earlier, each.to_version)
    before = (None, *_as_found(earlier, stack, held))[-2]
    if before is None:
        raise ConfigError(f"{model.name}: no version was called {alias!r} before version {held}; promote another one")
    return before


def _as_found(earlier: _Stack, stack: _Stack, held: int | None) -> _Stack:
    """The versions that held an alias one after another, as the holder tells: the last move may not have been made."""
    for each in (stack, earlier):
        if (each[-1] if each else None) == held:
            return each
    # Moved by hand.
    return (*stack, held)


def person() -> str:
    """Who asks, as far as that is known."""
    try:
        return os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
