"""All models in short: what the tags of the newest versions say, asked for a page at a time."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from roastery import __version__
from roastery.registry.answers import ModelAnswer
from roastery.registry.catalog import Catalog
from roastery.registry.logged_model import CONVERTED, KIND_TAG, MODEL_ID_TAG, NEWEST_TAG
from roastery.registry.place import newest, paged
from roastery.registry.record import REEVALUATED_TAG, REEVALUATION_TAG, REMEASURED_TAG, split_name
from roastery.registry.sources import CHECKPOINT_TAG
from roastery.registry.where import Condition

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

_PAGE = 100


def list_models(catalog: Catalog) -> list[ModelAnswer]:
    """Every model of which there is a source or a converted version, by name; of several targets each in turn.

    Raises:
        MlflowException, OSError: as MLflow does.
    """
    sources: dict[str, ModelVersion] = {}
    converted: dict[str, list[RegisteredModel]] = {}
    for model in catalog.registered_models():
        latest_version = newest(model)
        if latest_version is None:
            continue
        named = split_name(model.name)
        if named is not None:
            converted.setdefault(named[0], []).append(model)
        elif CHECKPOINT_TAG in latest_version.tags:
            sources[model.name] = latest_version
    return [
        answer(each, sources.get(each), target)
        for each in sorted(sources.keys() | converted.keys())
        for target in _by_name(converted.get(each, [])) or (None,)
    ]


def _by_name(models: "list[RegisteredModel]") -> "tuple[RegisteredModel, ...]":
    return tuple(sorted(models, key=lambda model: str(model.name)))


def source_of(catalog: Catalog, name: str) -> "ModelVersion | None":
    """The newest registered source of a model.

    Raises:
        MlflowException, OSError: as MLflow does.
    """
    model = catalog.registered_model(name)
    found = None if model is None else newest(model)
    return found if found is not None and CHECKPOINT_TAG in found.tags else None


def answer(
    name: str,
    source: "ModelVersion | None",
    converted: "RegisteredModel | None",
    version: "ModelVersion | None" = None,
) -> ModelAnswer:
    """A model in short.

    Args:
        version: of its converted versions this one, instead of the newest.
    """
    if version is None and converted is not None:
        version = newest(converted)
    said: dict[str, object] = {
        "model": name,
        "source_version": None if source is None else int(source.version),
        "registered_at": None if source is None else moment(source.creation_timestamp),
        "family": None if source is None else source.tags.get("family"),
        "dataset": None if source is None else source.tags.get("dataset"),
    }
    if version is not None and converted is not None:
        said |= version_facts(version, source)
        held = {alias for alias, holder in converted.aliases.items() if int(holder) == int(version.version)}
        said["aliases"] = tuple(sorted(held))
    return ModelAnswer.model_validate(said)


def version_facts(version: "ModelVersion", source: "ModelVersion | None") -> dict[str, object]:
    """What the tags of a converted version say of it, as it was measured last."""
    tags = version.tags
    named = split_name(version.name)
    figures = _figures(tags)
    verdict = tags.get(REEVALUATION_TAG, tags.get("verdict"))
    again = tags.get(REEVALUATED_TAG)
    made = moment(version.creation_timestamp)
    return {
        "target": None if named is None else named[1].name,
        "converted_version": int(version.version),
        "verdict": verdict if verdict in ("passed", "failed") else None,
        "judged_by": tags.get("judged_by"),
        "ap": {name[3:]: value for name, value in figures.items() if not name.startswith(("ap_delta", "ap_original"))},
        "ap_original": _under("ap_original_", figures),
        "ap_delta": _under("ap_delta_", figures),
        "stale": _stale(tags, source),
        "family": tags.get("family"),
        "dataset": tags.get("dataset"),
        "converted_at": made,
        "measured_at": _parsed(again) or made,
        "run_id": version.run_id,
        "model_id": tags.get(MODEL_ID_TAG),
    }


def matching(catalog: Catalog, conditions: tuple[Condition, ...]) -> set[str]:
    """The logged models of the newest converted versions of whose latest figures all conditions hold.

    MLflow finds those of which they ever held; which figures are the latest is seen here.

    Raises:
        MlflowException, OSError: as MLflow does.
    """
    experiment = catalog.client.get_experiment_by_name(catalog.experiment)
    if experiment is None:
        return set()
    ours = [f"tags.`{KIND_TAG}` = '{CONVERTED}'", f"tags.`{NEWEST_TAG}` = 'yes'"]
    wanted = " AND ".join([*ours, *map(str, conditions)])
    search = partial(catalog.client.search_logged_models, [experiment.experiment_id], wanted, max_results=_PAGE)
    return {model.model_id for model in paged(search) if all(each.holds(latest(model)) for each in conditions)}


def main_figures(each: ModelAnswer) -> dict[str, float]:
    """The figures of a model that its tags say, by the names of MLflow's metrics."""
    prefixed = (("ap_", each.ap), ("ap_original_", each.ap_original), ("ap_delta_", each.ap_delta))
    return {f"{prefix}{kind}": value for prefix, said in prefixed for kind, value in said.items() if value is not None}


def latest(model: "LoggedModel") -> dict[str, float]:
    """The latest figure of each metric."""
    points = sorted(model.metrics or (), key=lambda point: point.timestamp)
    return {point.key: point.value for point in points}


def moment(milliseconds: int) -> datetime:
    """A time of MLflow's."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(milliseconds))


def _figures(tags: Mapping[str, str]) -> dict[str, float | None]:
    """Of the last evaluation: that of the filing, or a later one, which is told in a tag of its own."""
    told: Mapping[str, object] = {name: value for name, value in tags.items() if name.startswith("ap_")}
    if REMEASURED_TAG in tags:
        try:
            said = json.loads(tags[REMEASURED_TAG])
        except (ValueError, RecursionError):
            said = None
        told = said if isinstance(said, dict) else told
    return {name: _number(value) for name, value in told.items() if name.startswith("ap_")}


def _under(prefix: str, figures: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name.removeprefix(prefix): value for name, value in figures.items() if name.startswith(prefix)}


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None


def _stale(tags: Mapping[str, str], source: "ModelVersion | None") -> tuple[str, ...]:
    reasons = []
    for what, tag in (("weights", "source_sha256"), ("config", "config_sha256")):
        if source is not None and source.tags.get(tag) != tags.get(tag):
            reasons.append(f"other {what} than source version {source.version}")
    made_by = tags.get("roastery_version")
    if made_by != __version__:
        reasons.append(f"made by Roastery {made_by}")
    return tuple(reasons)


def _parsed(text: str | None) -> datetime | None:
    try:
        told = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return told.replace(tzinfo=UTC) if told is not None and told.tzinfo is None else told
