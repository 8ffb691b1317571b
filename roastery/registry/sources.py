"""Source models in the registry: a trained detector's config and checkpoint, as versions of `<name>`.

A version is known by its bytes: the same config and checkpoint are the same version, however often they are registered.
What may change without another version (dataset, tags, gate, how it is exported) stands in its tags.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from roastery.config import dump_config
from roastery.digest import canonical_json, file_sha256
from roastery.errors import ConfigError, RegistryDamaged
from roastery.reference_uri import SCHEME, parse_reference
from roastery.registry.address import registry_errors, sole_writer
from roastery.registry.catalog import Catalog
from roastery.registry.filed import download
from roastery.registry.lineage import source_key
from roastery.registry.logged_model import KIND_TAG, MODEL_ID_TAG, SOURCE, fill, keyed_model, tell_version
from roastery.registry.record import KEY_TAG, legal_names, split_name
from roastery.spec import ModelSpec
from roastery.stages.resolve import CONFIG_FILE, pinned_config, weights_sha256

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

SPEC_TAG = "spec"
"""What else is said of a source, as JSON: a ModelSpec without its name and places."""
CHECKPOINT_TAG = "checkpoint"
"""The name of the checkpoint among the version's files."""
WEIGHTS_FILE = "weights.safetensors"
TAG = "tag."
"""Each of the team's own words is a tag too, `tag.<word>`, so that MLflow finds it."""

_SAID = ("dataset", "runtimes", "export", "tags", "gate", "source")
_PLAIN = re.compile(r"[A-Za-z0-9][\w.-]{0,119}")


class RegisteredSource(BaseModel):
    """A source model in the registry."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    source_sha256: str
    config_sha256: str
    run_url: str
    created: bool
    """False where the same bytes were registered before."""


def register_source(catalog: Catalog, spec: ModelSpec, metrics: Mapping[str, float] | None = None) -> RegisteredSource:
    """Register a trained detector. May be done again.

    Args:
        metrics: what it scored when it was trained, 0..100.

    Raises:
        ConfigError, CheckpointError: a config or a checkpoint that cannot be read, or a name that is not to be had.
        RegistryRefused, RegistryUnavailable: as `Catalog.log`.
    """
    converted = split_name(spec.name)
    if converted is not None:
        suffix = converted[1].suffix
        raise ConfigError(f"model {spec.name!r}: {suffix} is what converted models end with; rename it")
    if spec.has_code:
        raise ConfigError(
            f"model {spec.name!r}: is built by {'detectron2' if spec.source == 'detectron2' else 'custom modules'}, "
            "which a registry does not keep; keep its YAML in configs/models, from which it is converted"
        )
    config = pinned_config(spec)
    source_sha256 = weights_sha256(spec)
    with tempfile.TemporaryDirectory(prefix="roastery-") as folder:
        directory = Path(folder)
        (directory / CONFIG_FILE).write_text(dump_config(config), encoding="utf-8")
        config_sha256 = file_sha256(directory / CONFIG_FILE)
        key = source_key(spec.name, source_sha256, config_sha256)
        tags = {
            KEY_TAG: key,
            "source_sha256": source_sha256,
            "config_sha256": config_sha256,
            "weights_bytes": str(Path(spec.weights).stat().st_size),
            "family": str(config.MODEL.META_ARCHITECTURE),
            CHECKPOINT_TAG: _file_name(Path(spec.weights)),
            **_told(spec),
        }
        with sole_writer(catalog.tracking_uri, spec.name), registry_errors(catalog.tracking_uri):
            version = _of_key(catalog, spec.name, key)
            created = version is None
            if version is None:
                version = _create(catalog, spec, directory, tags, metrics or {})
            _retell(catalog, version, tags)
            run = catalog.client.get_run(str(version.run_id))
            return RegisteredSource(
                name=spec.name,
                version=int(version.version),
                source_sha256=source_sha256,
                config_sha256=config_sha256,
                run_url=catalog.url(run),
                created=created,
            )


def source_spec(catalog: Catalog, reference: str) -> ModelSpec:
    """The ModelSpec of a registered source. Its weights are the reference, with the version's number.

    Raises:
        ConfigError: there is none.
        RegistryDamaged: it is not one that was registered by Roastery.
        RegistryRefused, RegistryUnavailable: as `Catalog.log`.
    """
    version = _version(catalog, reference)
    try:
        said = json.loads(version.tags.get(SPEC_TAG, ""))
        return ModelSpec.model_validate(
            {
                **{name: said[name] for name in _SAID if name in said},
                "name": version.name,
                "weights": f"{SCHEME}{version.name}/{version.version}",
                "weights_sha256": version.tags.get("source_sha256"),
                "config_sha256": version.tags.get("config_sha256"),
            }
        )
    # Whatever a stranger wrote there.
    except (ValueError, TypeError, RecursionError) as error:
        raise RegistryDamaged(
            f"{reference}: was not registered by Roastery, or its tags are damaged; register it (roastery register)"
        ) from error


def download_source(catalog: Catalog, reference: str, folder: Path) -> tuple[Path, Path]:
    """Config and checkpoint of a registered source, verified against its digests.

    Args:
        folder: an empty one, to which they go.

    Raises:
        RegistryDamaged: the registry's files are not those that were registered.
        ConfigError, RegistryRefused, RegistryUnavailable: as `source_spec`.
    """
    version = _version(catalog, reference)
    with tempfile.TemporaryDirectory(prefix="roastery-") as partial:
        with registry_errors(catalog.tracking_uri):
            files = download(catalog, version, Path(partial))
        name = version.tags.get(CHECKPOINT_TAG, "")
        for file, tag in ((CONFIG_FILE, "config_sha256"), (name, "source_sha256")):
            path = files / file
            if not _PLAIN.fullmatch(file) or not path.is_file() or file_sha256(path) != version.tags.get(tag):
                raise RegistryDamaged(
                    f"{reference}: {file or 'its checkpoint'} in the registry is not the file that was registered; "
                    "register it again under another version"
                )
        return Path(shutil.move(files / CONFIG_FILE, folder)), Path(shutil.move(files / name, folder))


class SourceVersion(BaseModel):
    """A version of a source, as its tags say it."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    source_sha256: str | None
    config_sha256: str | None
    family: str | None
    dataset: str | None
    registered_at: int
    """Milliseconds since 1970, UTC."""


def newest_sources(catalog: Catalog) -> dict[str, SourceVersion]:
    """The newest version of each source model, by name.

    Raises:
        RegistryRefused, RegistryUnavailable: as `Catalog.log`.
    """
    newest: dict[str, SourceVersion] = {}
    with registry_errors(catalog.tracking_uri):
        for model in catalog.registered_models():
            for version in model.latest_versions:
                if CHECKPOINT_TAG in version.tags and split_name(model.name) is None:
                    newest[model.name] = _told_of(version)
    return newest


def _told_of(version: "ModelVersion") -> SourceVersion:
    tags = version.tags
    return SourceVersion(
        name=version.name,
        version=int(version.version),
        source_sha256=tags.get("source_sha256"),
        config_sha256=tags.get("config_sha256"),
        family=tags.get("family"),
        dataset=tags.get("dataset"),
        registered_at=int(version.creation_timestamp),
    )


def _told(spec: ModelSpec) -> dict[str, str]:
    said = {name: value for name, value in spec.model_dump(mode="json").items() if name in _SAID}
    words = {f"{TAG}{word}": "yes" for word in spec.tags}
    return {SPEC_TAG: canonical_json(said), "dataset": spec.dataset, **legal_names(words)}


def _create(
    catalog: Catalog, spec: ModelSpec, directory: Path, tags: Mapping[str, str], metrics: Mapping[str, float]
) -> "ModelVersion":
    from mlflow.entities import Metric
    from mlflow.models import Model

    from roastery.safetensors_copy import write_safetensors

    client = catalog.client
    catalog.register_name(spec.name)
    run = catalog.keyed_run(tags[KEY_TAG], f"{spec.name} registered", {KIND_TAG: SOURCE, "family": tags["family"]})
    run_id = run.info.run_id
    model = keyed_model(
        client, run.info.experiment_id, tags[KEY_TAG], spec.name, {KIND_TAG: SOURCE, "model": spec.name, **tags}, run
    )
    figures = legal_names(dict(metrics))
    points = [Metric(*item, run.info.start_time, 0, model_id=model.model_id) for item in figures.items()]
    client.log_batch(run_id, metrics=points)
    checkpoint = Path(spec.weights)
    shutil.copyfile(checkpoint, directory / tags[CHECKPOINT_TAG])
    if checkpoint.suffix != ".safetensors":
        write_safetensors(checkpoint, directory / WEIGHTS_FILE)
    mlflow_model = Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id)
    # No flavor: a checkpoint is not loaded, it is converted.
    mlflow_model.save(str(directory / "MLmodel"))
    fill(client, model, directory)
    client.set_terminated(run_id, "FINISHED")
    client.create_model_version(
        name=spec.name,
        source=model.artifact_location,
        run_id=run_id,
        tags={**tags, MODEL_ID_TAG: model.model_id},
        model_id=model.model_id,
    )
    version = _of_key(catalog, spec.name, tags[KEY_TAG])
    assert version is not None
    tell_version(client, model.model_id, version)
    return version


def _retell(catalog: Catalog, version: "ModelVersion", tags: Mapping[str, str]) -> None:
    """Let the version's tags say what is said of it now."""
    for name, value in tags.items():
        if version.tags.get(name) != value:
            catalog.client.set_model_version_tag(version.name, version.version, name, value)
    for name in version.tags:
        if name.startswith(TAG) and name not in tags:
            catalog.client.delete_model_version_tag(version.name, version.version, name)


def _of_key(catalog: Catalog, name: str, key: str) -> "ModelVersion | None":
    found = catalog.client.search_model_versions(f"name = '{name}' and tags.`{KEY_TAG}` = '{key}'")
    return min(found, key=lambda version: int(version.version), default=None)


def _version(catalog: Catalog, reference: str) -> "ModelVersion":
    asked = parse_reference(reference)
    with registry_errors(catalog.tracking_uri):
        version = catalog.version(asked.name, asked.version, asked.alias)
    if version is None:
        raise ConfigError(f"{reference}: there is no such version in {catalog.tracking_uri}; see `roastery models`")
    return version


def _file_name(checkpoint: Path) -> str:
    """The checkpoint's own name, where it is a plain one that none of the other files has."""
    taken = (CONFIG_FILE, WEIGHTS_FILE, "MLmodel")
    usable = _PLAIN.fullmatch(checkpoint.name) and checkpoint.name not in taken
    return checkpoint.name if usable else f"checkpoint{checkpoint.suffix}"
