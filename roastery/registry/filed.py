"""Filed versions taken out of the registry again, and what a later evaluation of one found."""

import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from roastery.digest import canonical_json, file_sha256
from roastery.errors import ConfigError
from roastery.registry.address import registry_errors, sole_writer
from roastery.registry.aliases import holders, take_aliases
from roastery.registry.catalog import Catalog, ConvertedVersion, measured
from roastery.registry.lineage import dataset_input
from roastery.registry.logged_model import MODEL_ID_TAG
from roastery.registry.record import (
    REEVALUATED_TAG,
    REEVALUATES_TAG,
    REEVALUATION_TAG,
    REMEASURED_TAG,
    aliases,
    main_figures,
    name_mark,
    split_name,
)
from roastery.registry.run_files import NOTE_TAG, note_again
from roastery.results import Conversion, Evaluation, Registered

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


class NoVersion(ConfigError):
    """A model was never converted to a target."""


class Refiled(BaseModel):
    """Where a re-evaluation was filed, and what became of the version's aliases."""

    model_config = ConfigDict(frozen=True)

    registered: Registered
    taken: tuple[str, ...]
    """The gate's aliases that it lost, now or in an earlier attempt."""
    kept: tuple[str, ...]
    """What it is called all the same: people's aliases, which they alone move."""


@dataclass(frozen=True)
class FiledVersion:
    """What the registry holds of a version. The folder is there as long as the block that fetched it."""

    version: int
    conversion: Conversion
    """As it was told when the version was filed."""
    folder: Path
    """Holds the model's files."""
    digests: dict[str, str]
    """Of those files, as they are now: file name to sha256."""


@contextmanager
def fetched(catalog: Catalog, name: str, version: int | None = None) -> Iterator[FiledVersion]:
    """A version of a converted model.

    Args:
        name: its registered name.
        version: the newest one, unless another is named.

    Raises:
        NoVersion: there is none.
        RegistryDamaged: it has no conversion on record.
        RegistryRefused, RegistryUnavailable: as `Catalog.log`.
    """
    with tempfile.TemporaryDirectory(prefix="roastery-") as folder:
        with registry_errors(catalog.tracking_uri):
            filed = _version(catalog, name, version)
            run = str(filed.run_id)
            files = download(catalog, filed, Path(folder, "model"))
        conversion = catalog.conversion(ConvertedVersion(filed.name, int(filed.version), run))
        digests = {path.name: file_sha256(path) for path in sorted(files.iterdir()) if path.is_file()}
        yield FiledVersion(int(filed.version), conversion, files, digests)


def file_reevaluation(
    catalog: Catalog, name: str, version: int, key: str, evaluation: Evaluation, links: Mapping[str, str] | None = None
) -> Refiled:
    """File what an evaluation of a version found: a run of its own, and two tags of the version. May be done again.

    The gate's aliases go from a version that does not pass any more. One that passes has what it earns, unless a later
    version does.

    Args:
        links: tags of the run that say where else it is seen.

    Raises:
        RegistryRefused, RegistryUnavailable: as `Catalog.log`.
    """
    from mlflow.entities import LoggedModelInput, RunTag

    client = catalog.client
    with sole_writer(catalog.tracking_uri, name), registry_errors(catalog.tracking_uri):
        filed = client.get_model_version(name, str(version))
        mark = {"reevaluation_of": f"{name} version {version}", REEVALUATES_TAG: name_mark(name)}
        run = catalog.keyed_run(key, f"{name} again", mark | dict(links or {}))
        run_id, model_id = run.info.run_id, filed.tags.get(MODEL_ID_TAG)
        model_of = client.get_logged_model(model_id) if model_id else None
        inputs = [LoggedModelInput(model_id)] if model_id else []
        client.log_inputs(run_id, datasets=[dataset_input(evaluation)], models=inputs)
        said = note_again(evaluation, f"{name} version {version}", links or {})
        client.log_batch(run_id, metrics=measured(evaluation, run, model_of), tags=[RunTag(NOTE_TAG, said)])
        client.log_text(run_id, evaluation.model_dump_json(indent=2) + "\n", "evaluation.json")
        client.set_terminated(run_id, "FINISHED")
        began = datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds")
        client.set_model_version_tag(name, str(version), REEVALUATED_TAG, began)
        figures = canonical_json({k: v for k, v in main_figures(evaluation).items() if v is None or math.isfinite(v)})
        client.set_model_version_tag(name, str(version), REMEASURED_TAG, figures)
        client.set_model_version_tag(name, str(version), REEVALUATION_TAG, "passed" if evaluation.passed else "failed")
        taken = (
            () if evaluation.passed else take_aliases(client, name, version, f"failed when measured again in {run_id}")
        )
        alias = None
        if evaluation.passed:
            reason = f"passed when measured again, judged by {evaluation.judged_by}"
            alias = catalog.give_aliases(filed, aliases(evaluation), reason)
        registered = Registered(
            run_id=run_id,
            run_url=catalog.url(run),
            name=name,
            version=version,
            alias=alias,
            tracking_uri=catalog.tracking_uri,
            created=False,
        )
        held = holders(client.get_registered_model(name))
        return Refiled(registered=registered, taken=taken, kept=tuple(a for a, v in held.items() if v == version))


def download(catalog: Catalog, version: "ModelVersion", folder: Path) -> Path:
    """A version's files.

    Raises:
        MlflowException, OSError: as MLflow does.
    """
    import mlflow.artifacts

    folder.mkdir(parents=True, exist_ok=True)
    place = catalog.client.get_model_version_download_uri(version.name, version.version)
    return Path(mlflow.artifacts.download_artifacts(place, dst_path=str(folder), tracking_uri=catalog.tracking_uri))


def _version(catalog: Catalog, name: str, version: int | None) -> "ModelVersion":
    if version is None:
        newest = catalog.converted(name).get(name)
        if newest is None:
            named = split_name(name)
            model = name if named is None else named[0]
            raise NoVersion(f"model {model!r} has no converted version in {catalog.tracking_uri}; convert it first")
        version = newest.version
    return catalog.client.get_model_version(name, str(version))
