"""Which registered models a fleet takes: by name, by tag, and by what the registry holds of them already."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from roastery.digest import canonical_json
from roastery.errors import ConfigError, UserError
from roastery.reference_uri import is_reference
from roastery.results import ConvertedSource
from roastery.spec import ModelSpec
from roastery.stages.resolve import config_sha256, weights_sha256
from roastery.targets import target_of

Only = Literal["all", "new", "changed", "new or changed"]
"""`new`: a target has no version. `changed`: a target's newest version is of other weights, config or export."""

_GLOB = frozenset("*?[")


class Selection(BaseModel):
    """What is asked of a registered model to be taken. Empty: all are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = Field((), description="names of registered models, or globs such as `mask_*`")
    tags: tuple[str, ...] = Field((), description="tags that a model must carry, all of them")
    only: Only = Field("all", description="what the registry must not hold of a model yet")


def select(
    models: Mapping[str, ModelSpec],
    selection: Selection,
    converted: Callable[[], Mapping[str, ConvertedSource]],
    targets: Sequence[str] = ("caffe2",),
) -> dict[str, ModelSpec]:
    """The models that are taken, by name: in the order in which they were asked for, each once; a glob's by name.

    Args:
        models: all that are registered, by name.
        converted: asks the registry for the newest version of each converted model, by its registered name. Called at
            most once, and only where that matters.
        targets: what a model is converted to that does not say it itself.

    Raises:
        ConfigError: a name, a glob or tags that no registered model has. That `only` leaves none is no error.
        RegistryUnavailable, RegistryRefused: what `converted` raises.
    """
    named = list(dict.fromkeys(name for asked in selection.names or ("*",) for name in _named(asked, models)))
    chosen = {name: models[name] for name in named if set(selection.tags) <= set(models[name].tags)}
    _require_apart(chosen)
    if not chosen and models:
        there = sorted({tag for name in named for tag in models[name].tags})
        way = f"there are {_few(there)}" if there else "none of them has tags"
        raise ConfigError(f"no model carries the tags {', '.join(selection.tags)}; {way}")
    if selection.only == "all":
        return chosen
    filed = converted()
    states = selection.only.split(" or ")
    return {name: model for name, model in chosen.items() if _state_of_all(model, filed, targets) in states}


def _require_apart(chosen: Mapping[str, ModelSpec]) -> None:
    """Two models of one name would be versions of one model, in an order that nobody said."""
    by_name: dict[str, str] = {}
    for asked, model in chosen.items():
        if by_name.setdefault(model.name, asked) != asked:
            raise ConfigError(f"{by_name[model.name]} and {asked} are both named {model.name!r}; ask for one of them")


def export_tag(model: ModelSpec) -> str:
    """What kind of net is made of a model, as the registry says it of a version."""
    return canonical_json(model.export.model_dump(mode="json"))


def _named(asked: str, models: Mapping[str, ModelSpec]) -> Iterator[str]:
    if asked in models:
        yield asked
        return
    # Sources in the registry are asked for by their references alone.
    names = [name for name in models if not is_reference(name)]
    found = [name for name in sorted(names) if fnmatchcase(name, asked)] if _GLOB & set(asked) else []
    if not found:
        close = difflib.get_close_matches(asked, names, n=3, cutoff=0.5)
        way = f"did you mean {' or '.join(close)}?" if close else f"there are {_few(names)}"
        raise ConfigError(f"no model {asked!r} is registered; {way}")
    yield from found


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more


def _state_of_all(model: ModelSpec, filed: Mapping[str, ConvertedSource], targets: Sequence[str]) -> str:
    """Of all its targets: `new` where one has no version yet, `changed` where one is of something else."""
    names = [target_of(target).registered(model.name) for target in model.targets or targets]
    states = {_state(model, filed.get(name)) for name in names}
    return next(state for state in ("new", "changed", "unchanged") if state in states)


def _state(model: ModelSpec, filed: ConvertedSource | None) -> str:
    if filed is None:
        return "new"
    try:
        # A digest that the spec says itself is checked when the model is run.
        weights = model.weights_sha256 or weights_sha256(model)
        config = model.config_sha256 or config_sha256(model)
        source = (weights, config, export_tag(model))
    except UserError:
        # Its own run says what is wrong with it.
        return "changed"
    return "unchanged" if source == (filed.source_sha256, filed.config_sha256, filed.export) else "changed"
