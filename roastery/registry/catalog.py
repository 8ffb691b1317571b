"""The catalog: a conversion becomes one MLflow run and one registered version, however often it is logged.

Every step looks first and can be done twice: the run is found again by its key, metrics carry the run's own start as
their time, artifacts overwrite themselves, and the version is created last, with its tags, from a run that is whole.
Writers on one machine take turns; writers on several machines agree afterwards that the lowest version is the one.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import ValidationError

from roastery.errors import ConfigError, RegistryDamaged, RegistryRefused, RegistryUnavailable, RoasteryError
from roastery.registry.address import absolute_uri, quiet_mlflow, registry_errors, sole_writer, sqlite_file
from roastery.registry.database import make_database
from roastery.registry.record import (
    CONVERTED_SUFFIX,
    EXPORT_TAG,
    KEY_TAG,
    aliases,
    metrics,
    parameters,
    registered_name,
    version_tags,
)
from roastery.report.files import CONFIG_FILE, PAGE_FILE, PICTURE_SUFFIXES, STEM
from roastery.results import Conversion, ConvertedSource, Registered

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

MODEL_FOLDER = "model"
REPORT_FOLDER = "report"
CONVERSION_FILE = "conversion.json"
MODEL_FILES = frozenset({"model.pb", "model_init.pb", "model.pbtxt", "model.svg", "model.onnx"})
_KEY = re.compile(r"[A-Za-z0-9_.-]+")
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]*")
_PAGE = 1000
_BATCH = 100
"""Parameters that MLflow takes at once."""


@dataclass(frozen=True)
class ConvertedVersion:
    """A registered version of a converted model, and the run that it was filed by."""

    name: str
    version: int
    run_id: str


class Catalog:
    """A place in MLflow where conversions are filed.

    Args:
        tracking_uri: "sqlite:///path/mlflow.db" (a relative path is taken from the working directory, now), or the
            address of an MLflow server.
        experiment: the experiment of the runs; created when it is not there. Beside a SQLite database its artifacts lie
            in `mlartifacts`; a server decides for itself.
    """

    def __init__(self, tracking_uri: str, experiment: str = "roastery") -> None:
        self.tracking_uri = absolute_uri(tracking_uri)
        self.experiment = experiment

    def load(self) -> None:
        """Import what of MLflow filing needs, which takes seconds: for a time when nothing else is to be done."""
        quiet_mlflow()
        import mlflow

        if sqlite_file(self.tracking_uri) is not None:
            import mlflow.store.model_registry.sqlalchemy_store
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    def log(self, conversion: Conversion, files: Mapping[str, Path], report: Path | None = None) -> Registered:
        """File a conversion. Doing so again, from whatever process, gives the version that the first time made.

        Args:
            files: name to path. `MODEL_FILES` and JSON files are filed; a pickle or an archive of pickles (`model.pt2`)
                never is, and is left out.
            report: the Markdown form of a report; its page, its pictures and its config lie beside it, and are filed
                with it.

        Raises:
            RegistryRefused: an address, a name or a right that is wanting.
            RegistryUnavailable: the registry did not answer or was busy; log again.
        """
        with sole_writer(self.tracking_uri, conversion.key):
            client = self.client
            with registry_errors(self.tracking_uri):
                version = self._agreed_version(conversion)
                created = version is None
                if version is None:
                    version = self._create(conversion, files, report)
                else:
                    self._tell_artifacts(conversion, str(version.run_id))
                for name, value in version_tags(conversion).items():
                    if version.tags.get(name) != value:
                        client.set_model_version_tag(version.name, version.version, name, value)
                return self._registered(version, self._set_aliases(conversion, int(version.version)), created)

    def find(self, conversion: Conversion) -> Registered | None:
        """Where a conversion was filed, whole; None where `log` has something to do.

        Raises:
            RegistryRefused, RegistryUnavailable: as `log`.
        """
        with registry_errors(self.tracking_uri):
            versions = self._versions(conversion)
            if len(versions) != 1 or not version_tags(conversion).items() <= versions[0].tags.items():
                return None
            (version,) = versions
            held = self._held_aliases(version.name)
            number = int(version.version)
            if any(held.get(alias, 0) < number for alias in aliases(conversion)):
                return None
            return self._registered(version, _highest(conversion, held, number), created=False)

    def converted(self, model: str | None = None) -> dict[str, ConvertedSource]:
        """The newest converted version of each model, by the model's name: what a fleet selects by.

        Args:
            model: ask of this one alone.

        Raises:
            RegistryRefused, RegistryUnavailable: as `log`.
        """
        newest: dict[str, ConvertedSource] = {}
        wanted = f"name LIKE '%{CONVERTED_SUFFIX}'" if model is None else f"name = '{model}{CONVERTED_SUFFIX}'"
        with registry_errors(self.tracking_uri):
            for version in _all_versions(self.client, wanted):
                name, number = version.name.removesuffix(CONVERTED_SUFFIX), int(version.version)
                if name not in newest or newest[name].version < number:
                    newest[name] = ConvertedSource(
                        version=number,
                        source_sha256=version.tags.get("source_sha256"),
                        config_sha256=version.tags.get("config_sha256"),
                        export=version.tags.get(EXPORT_TAG),
                    )
        return newest

    def versions(self) -> list[ConvertedVersion]:
        """Every version of every converted model, of whichever experiment.

        Raises:
            ConfigError: there is no such registry; a SQLite database is not created for the question.
            RegistryRefused, RegistryUnavailable: as `log`.
        """
        database = sqlite_file(self.tracking_uri)
        if database is not None and not database.is_file():
            raise ConfigError(f"{self.tracking_uri}: no such registry; name the one that models are filed in")
        client = self.client
        with registry_errors(self.tracking_uri):
            # Of the page's entities little is kept: there may be many.
            return [
                ConvertedVersion(version.name, int(version.version), str(version.run_id))
                for version in _all_versions(client, f"name LIKE '%{CONVERTED_SUFFIX}'")
            ]

    def conversion(self, version: ConvertedVersion) -> Conversion:
        """A version's conversion, as it was told when it was filed.

        Raises:
            RegistryDamaged: it is of another Roastery, or damaged.
            RegistryRefused, RegistryUnavailable: as `log`; the version is named.
        """
        named = f"{CONVERSION_FILE} of {version.name} version {version.version}"
        try:
            return self._conversion(version.run_id)
        except ValidationError as error:
            raise RegistryDamaged(
                f"{self.tracking_uri}: {named} is of another Roastery, or damaged; delete that version, and convert "
                "the model again"
            ) from error
        except RoasteryError as error:
            raise type(error)(f"{named} cannot be read: {error}") from error

    def _conversion(self, run_id: str) -> Conversion:
        with tempfile.TemporaryDirectory(prefix="roastery-") as folder, registry_errors(self.tracking_uri):
            said = Path(self.client.download_artifacts(run_id, CONVERSION_FILE, folder)).read_bytes()
        return Conversion.model_validate_json(said)

    def _registered(self, version: "ModelVersion", alias: str | None, created: bool) -> Registered:
        return Registered(
            run_id=version.run_id,
            run_url=self.url(self.client.get_run(str(version.run_id))),
            name=version.name,
            version=int(version.version),
            alias=alias,
            tracking_uri=self.tracking_uri,
            created=created,
        )

    def url(self, run: "Run") -> str:
        """Where a person sees a run: on a server in its UI, else in the report's page."""
        address = urlsplit(self.tracking_uri)
        if address.scheme not in ("http", "https"):
            return f"{run.info.artifact_uri}/{REPORT_FOLDER}/{PAGE_FILE}"
        # It is shown to many: a password in the address is not.
        host = address.netloc.rpartition("@")[2]
        root = f"{address.scheme}://{host}{address.path.rstrip('/')}"
        return f"{root}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's own, made when it is first needed.

        Raises:
            RegistryRefused, RegistryUnavailable: as `log`.
        """
        quiet_mlflow()
        from mlflow import MlflowClient

        database = sqlite_file(self.tracking_uri)
        with registry_errors(self.tracking_uri):
            if database is not None:
                make_database(database)
            return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    def _create(self, conversion: Conversion, files: Mapping[str, Path], report: Path | None) -> "ModelVersion":
        from mlflow.exceptions import MlflowException

        # First, because it is the name that a registry may refuse.
        self._register_name(registered_name(conversion))
        run = self._run(conversion)
        try:
            self._record(conversion, run)
            self._file(run, conversion, files, report)
        except (MlflowException, OSError):
            # So that nobody takes it for a run that goes on. The next attempt takes it up again, and ends it anew.
            with suppress(MlflowException, OSError):
                self.client.set_terminated(run.info.run_id, "FAILED")
            raise
        self.client.set_terminated(run.info.run_id, "FINISHED")
        self.client.create_model_version(
            name=registered_name(conversion),
            source=f"{run.info.artifact_uri}/{MODEL_FOLDER}",
            run_id=run.info.run_id,
            tags=version_tags(conversion),
        )
        version = self._agreed_version(conversion)
        if version is None:
            raise RegistryRefused(
                f"{self.tracking_uri}: {registered_name(conversion)} was deleted while it was registered; log it again"
            )
        return version

    def _agreed_version(self, conversion: Conversion) -> "ModelVersion | None":
        """The one version with the conversion's key. Others that a writer elsewhere made at the same time go."""
        from mlflow.exceptions import MlflowException

        name, ours = registered_name(conversion), self._versions(conversion)
        for surplus in ours[1:]:
            try:
                self.client.delete_model_version(name, surplus.version)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        return ours[0] if ours else None

    def _versions(self, conversion: Conversion) -> list["ModelVersion"]:
        """Those with the conversion's key, the lowest first."""
        name = registered_name(conversion)
        # Only the key, which has no quote in it, is in the filter: a model's name may have.
        found = self.client.search_model_versions(_with_key(conversion.key))
        return sorted((version for version in found if version.name == name), key=lambda version: int(version.version))

    def _run(self, conversion: Conversion) -> "Run":
        return self.keyed_run(
            conversion.key, conversion.resolved.name, {"family": conversion.resolved.meta_architecture}
        )

    def keyed_run(self, key: str, name: str, tags: Mapping[str, str]) -> "Run":
        """The one run of that key; it is begun where it is not there."""
        experiment = self._experiment_id()
        found = self.client.search_runs([experiment], _with_key(key))
        if not found:
            self.client.create_run(experiment, run_name=name, tags={KEY_TAG: key, **tags})
            found = self.client.search_runs([experiment], _with_key(key))
        return min(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def _experiment_id(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            database = sqlite_file(self.tracking_uri)
            if database is not None and not _FOLDER.fullmatch(self.experiment):
                raise RegistryRefused(
                    f"{self.tracking_uri}: experiment {self.experiment!r} is no name of a folder, which its artifacts "
                    "need; use letters, digits, spaces, '-', '_' and '.'"
                )
            location = None if database is None else (database.parent / "mlartifacts" / self.experiment).as_uri()
            try:
                return self.client.create_experiment(self.experiment, artifact_location=location)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self.client.get_experiment_by_name(self.experiment)
        if found is None or found.lifecycle_stage == "deleted":
            raise RegistryRefused(
                f"{self.tracking_uri}: experiment {self.experiment!r} is deleted; restore it or name another"
            )
        experiment_id: str = found.experiment_id
        return experiment_id

    def _record(self, conversion: Conversion, run: "Run") -> None:
        from mlflow.entities import Metric, Param

        # The run's own start as the time of every metric: logged again, a metric is the same point, not a second one.
        points = [Metric(name, value, run.info.start_time, 0) for name, value in metrics(conversion).items()]
        # A parameter cannot be changed; one that an earlier attempt logged stays.
        missing = [Param(*item) for item in parameters(conversion).items() if item[0] not in run.data.params]
        self.client.log_batch(run.info.run_id, metrics=points)
        for start in range(0, len(missing), _BATCH):
            self.client.log_batch(run.info.run_id, params=missing[start : start + _BATCH])

    def _tell_artifacts(self, conversion: Conversion, run_id: str) -> None:
        """Add what a later run made a filed conversion by: by sources that changed and gave the same files, say.

        What cannot be read stays as it is: whoever needs it is told.
        """
        filed = self._filed(run_id)
        if filed is not None and not conversion.needed <= filed.needed:
            self._write_conversion(run_id, _made_by_both(filed, conversion))

    def _filed(self, run_id: str) -> Conversion | None:
        """A run's conversion, if there is one that can be read."""
        try:
            return self._conversion(run_id)
        except (ValidationError, RegistryUnavailable):
            return None

    def _write_conversion(self, run_id: str, conversion: Conversion) -> None:
        self.client.log_text(run_id, conversion.model_dump_json(indent=2) + "\n", CONVERSION_FILE)

    def _file(self, run: "Run", conversion: Conversion, files: Mapping[str, Path], report: Path | None) -> None:
        run_id = run.info.run_id
        # Two models that differ in their names alone share a run.
        shared = any(item.path == CONVERSION_FILE for item in self.client.list_artifacts(run_id))
        filed = self._filed(run_id) if shared else None
        self._write_conversion(run_id, conversion if filed is None else _made_by_both(conversion, filed))
        for name, path in sorted(files.items()):
            if name in MODEL_FILES:
                self.client.log_artifact(run_id, str(path), MODEL_FOLDER)
            elif name.endswith(".json"):
                self.client.log_artifact(run_id, str(path))
        if report is not None:
            for path in _report_files(report):
                self.client.log_artifact(run_id, str(path), REPORT_FOLDER)

    def _register_name(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _set_aliases(self, conversion: Conversion, version: int) -> str | None:
        """Give the version its aliases, but never take one from a later version. Returns the highest that it holds."""
        name = registered_name(conversion)
        held = self._held_aliases(name)
        for alias in aliases(conversion):
            if held.get(alias, 0) < version:
                self.client.set_registered_model_alias(name, alias, str(version))
                held[alias] = version
        return _highest(conversion, held, version)

    def _held_aliases(self, name: str) -> dict[str, int]:
        return {alias: int(holder) for alias, holder in self.client.get_registered_model(name).aliases.items()}


def _all_versions(client: "MlflowClient", wanted: str) -> Iterator["ModelVersion"]:
    """Page by page."""
    token = None
    while True:
        page = client.search_model_versions(wanted, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _made_by_both(conversion: Conversion, other: Conversion) -> Conversion:
    """A conversion that says of both what they were made by."""
    return conversion.model_copy(update={"artifacts": tuple(sorted(conversion.needed | other.needed))})


def _highest(conversion: Conversion, held: Mapping[str, int], version: int) -> str | None:
    """The highest of a conversion's aliases that its version holds."""
    mine = [alias for alias in aliases(conversion) if held[alias] == version]
    return mine[-1] if mine else None


def _report_files(report: Path) -> list[Path]:
    """A report, and of its folder the page, the config that its command starts from, and its pictures."""
    beside = [report.with_name(name) for name in (PAGE_FILE, CONFIG_FILE)]
    for suffix in PICTURE_SUFFIXES:
        beside += sorted(report.parent.glob(f"{STEM}-*{suffix}"))
    return [report, *(path for path in beside if path.is_file())]


def _with_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"a conversion's key is letters, digits, '-', '_' and '.', not {key!r}")
    return f"tags.`{KEY_TAG}` = '{key}'"
