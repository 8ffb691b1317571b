"""MLflow's logged models: the net or the checkpoint behind a version, which runs are tied to and figures belong to.

A version has no metrics of its own, and MLflow searches figures among logged models alone. Each step looks first, so
that an attempt that was cut short is taken up where it was.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from roastery.registry.record import KEY_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

MODEL_ID_TAG = "model_id"
"""Of a version: its logged model, which MLflow's own version does not tell where the registry is a database."""
KIND_TAG = "roastery.kind"
CONVERTED, SOURCE, EXTERNAL = "converted", "source", "external"
"""The kinds of logged models; external: a source of which MLflow has no files."""

SOURCE_VERSION_TAG = "source_version"
"""Of a converted version: which version of its source it was made of, where that is registered."""
NEWEST_TAG = "roastery.newest"
"""Of the logged model behind the newest version of each converted model: who searches figures passes over the others.
For a moment, while a version is filed, two of a model have it; never none."""
OF_TAG = "roastery.of"
"""The mark of the registered model's name."""

_VERSIONS_TAG = "mlflow.modelVersions"
# What MLflow refuses in the name of a logged model (mlflow/utils/validation.py, 3.17), though not of a registered one.
_ILLEGAL = re.compile(r"[/:.%\"']")


def keyed_model(
    client: "MlflowClient",
    experiment_id: str,
    key: str,
    name: str,
    tags: Mapping[str, str],
    run: "Run | None" = None,
) -> "LoggedModel":
    """The one logged model of that key; it is begun, without files, where it is not there.

    Args:
        run: the run that made it, to which it is tied as an output.
    """
    found = find_model(client, experiment_id, {KEY_TAG: key})
    if found is None:
        found = client.create_logged_model(
            experiment_id,
            name=_ILLEGAL.sub("_", name),
            source_run_id=None if run is None else run.info.run_id,
            tags={KEY_TAG: key, **tags},
        )
    if run is not None:
        _tie(client, run, found.model_id)
    return found


def find_model(client: "MlflowClient", experiment_id: str, tags: Mapping[str, str]) -> "LoggedModel | None":
    """The first logged model that carries these tags, whose values have no quote in them."""
    wanted = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    found = client.search_logged_models(
        [experiment_id], wanted, order_by=[{"field_name": "creation_time", "ascending": True}], max_results=1
    )
    return found[0] if found else None


def fill(client: "MlflowClient", model: "LoggedModel", folder: Path) -> None:
    """Give a logged model its files. Those that are there already are written again."""
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")


def tell_version(client: "MlflowClient", model_id: str, version: "ModelVersion") -> None:
    """Let a logged model's page say which version it is, as MLflow's own registering does."""
    known = json.loads(client.get_logged_model(model_id).tags.get(_VERSIONS_TAG, "[]"))
    entry = {"name": version.name, "version": int(version.version)}
    if not any(each.get("name") == entry["name"] and int(each["version"]) == entry["version"] for each in known):
        client.set_logged_model_tags(model_id, {_VERSIONS_TAG: json.dumps([*known, entry])})


def retire_older(client: "MlflowClient", experiment_id: str, mark: str) -> None:
    """Let the newest version's logged model alone be called the newest of its registered model.

    Args:
        mark: of the registered model's name (`OF_TAG`).
    """
    wanted = f"tags.`{OF_TAG}` = '{mark}' AND tags.`{NEWEST_TAG}` = 'yes'"
    called = [(version_of(model), model.model_id) for model in client.search_logged_models([experiment_id], wanted)]
    numbers = [number for number, _ in called if number is not None]
    for number, model_id in called:
        # Without a version it is being filed.
        if number is not None and number < max(numbers):
            client.delete_logged_model_tag(model_id, NEWEST_TAG)


def version_of(model: "LoggedModel") -> int | None:
    """The newest version that a logged model is registered as; None of one that is not."""
    known = json.loads(model.tags.get(_VERSIONS_TAG, "[]"))
    return max((int(each["version"]) for each in known), default=None)


def _tie(client: "MlflowClient", run: "Run", model_id: str) -> None:
    from mlflow.entities import LoggedModelOutput

    tied = client.get_run(run.info.run_id).outputs
    # MLflow refuses the same output twice.
    if tied is None or all(output.model_id != model_id for output in tied.model_outputs):
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, 0)])
