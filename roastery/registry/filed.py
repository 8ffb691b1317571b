"""Filed versions taken out of the registry again, and what a later evaluation of one found."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from roastery.digest import file_sha256
from roastery.errors import ConfigError
from roastery.registry.address import registry_errors, sole_writer
from roastery.registry.catalog import MODEL_FOLDER, Catalog, ConvertedVersion
from roastery.registry.record import CONVERTED_SUFFIX, evaluation_metrics, legal_names
from roastery.results import Conversion, Evaluation, Registered

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

REEVALUATED_TAG = "reevaluated"
"""When a version was last evaluated again: a date and time of UTC."""
VERDICT_TAG = "reevaluation"
"""What came of it: passed or failed."""


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
def fetched(catalog: Catalog, model: str, version: int | None = None) -> Iterator[FiledVersion]:
    """A converted version of a model.

    Args:
        version: the newest one, unless another is named.

    Raises:
        ConfigError: there is none.
        RegistryDamaged: it has no conversion on record.
        RegistryRefused, RegistryUnavailable: as `Catalog.log`.
    """
    with tempfile.TemporaryDirectory(prefix="roastery-") as folder:
        with registry_errors(catalog.tracking_uri):
            filed = _version(catalog, model, version)
            client, run = catalog.client, str(filed.run_id)
            files = Path(client.download_artifacts(run, MODEL_FOLDER, folder))
        conversion = catalog.conversion(ConvertedVersion(filed.name, int(filed.version), run))
        digests = {path.name: file_sha256(path) for path in sorted(files.iterdir())}
        yield FiledVersion(int(filed.version), conversion, files, digests)


def file_reevaluation(catalog: Catalog, model: str, version: int, key: str, evaluation: Evaluation) -> Registered:
    """File what an evaluation of a version found: a run of its own, and two tags of the version. May be done again.

    Raises:
        RegistryRefused, RegistryUnavailable: as `Catalog.log`.
    """
    from mlflow.entities import Metric

    with sole_writer(catalog.tracking_uri, key), registry_errors(catalog.tracking_uri):
        name, client = model + CONVERTED_SUFFIX, catalog.client
        run = catalog.keyed_run(key, f"{model} again", {"reevaluation_of": f"{name} version {version}"})
        figures = legal_names(evaluation_metrics(evaluation))
        client.log_batch(run.info.run_id, metrics=[Metric(*item, run.info.start_time, 0) for item in figures.items()])
        client.log_text(run.info.run_id, evaluation.model_dump_json(indent=2) + "\n", "evaluation.json")
        client.set_terminated(run.info.run_id, "FINISHED")
        began = datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds")
        client.set_model_version_tag(name, str(version), REEVALUATED_TAG, began)
        client.set_model_version_tag(name, str(version), VERDICT_TAG, "passed" if evaluation.passed else "failed")
        return Registered(
            run_id=run.info.run_id,
            run_url=catalog.url(run),
            name=name,
            version=version,
            alias=None,
            tracking_uri=catalog.tracking_uri,
            created=False,
        )


def _version(catalog: Catalog, model: str, version: int | None) -> "ModelVersion":
    newest = catalog.converted(model).get(model)
    if newest is None:
        raise ConfigError(f"model {model!r} has no converted version in {catalog.tracking_uri}; convert it first")
    return catalog.client.get_model_version(model + CONVERTED_SUFFIX, str(version or newest.version))
