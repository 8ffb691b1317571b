"""The catalog: a conversion becomes one MLflow run and one registered version, however often it is logged.

Every step looks first and can be done twice: the run is found again by its key, metrics carry the run's own start as
their time, artifacts overwrite themselves, and the version is created last, with its tags, from a run that is whole.
Writers on one machine take turns; writers on several machines agree afterwards that the lowest version is the one.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from roastery.data.vocabulary import Vocabulary
from roastery.errors import RegistryRefused
from roastery.registry.address import absolute_uri, quiet_mlflow, registry_errors, sole_writer, sqlite_file
from roastery.registry.aliases import holders, move
from roastery.registry.database import make_database
from roastery.registry.lineage import dataset_digest, log_inputs
from roastery.registry.logged_model import CONVERTED, KIND_TAG, MODEL_ID_TAG, fill, keyed_model, tell_version
from roastery.registry.record import (
    CONVERTED_SUFFIX,
    EXPORT_TAG,
    KEY_TAG,
    costs,
    earned_aliases,
    evaluation_metrics,
    parameters,
    registered_name,
    version_tags,
)
from roastery.registry.run_files import DRAWING_FILE, MODEL_FILES, REPORT_FOLDER, note, report_files, texts
from roastery.report.files import PAGE_FILE
from roastery.results import Conversion, ConvertedSource, Evaluation, Registered

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric, Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

_KEY = re.compile(r"[A-Za-z0-9_.-]+")
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]*")
_PAGE = 1000
_BATCH = 100
"""Parameters that MLflow takes at once."""
_POINTS = 1000
"""Metrics that it takes."""
_NOTE_TAG = "mlflow.note.content"
"""A run's description in MLflow's pages."""


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

    def log(
        self,
        conversion: Conversion,
        files: Mapping[str, Path],
        report: Path | None = None,
        vocabulary: Vocabulary | None = None,
        links: Mapping[str, str] | None = None,
    ) -> Registered:
        """File a conversion. Doing so again, from whatever process, gives the version that the first time made.

        Args:
            files: name to path. `MODEL_FILES` and JSON files are filed; a pickle or an archive of pickles (`model.pt2`)
                never is, and is left out.
            report: the Markdown form of a report; its page, its pictures and its config lie beside it, and are filed
                with it.
            vocabulary: the names of the model's classes, which its answers are given in.
            links: tags of the run that say where else it is seen, as Prefect's run.

        Raises:
            RegistryRefused: an address, a name or a right that is wanting.
            RegistryUnavailable: the registry did not answer or was busy; log again.
        """
        with sole_writer(self.tracking_uri, registered_name(conversion)):
            client = self.client
            with registry_errors(self.tracking_uri):
                version = self._agreed_version(conversion)
                created = version is None
                if version is None:
                    version = self._create(conversion, files, report, vocabulary, links or {})
                for name, value in version_tags(conversion).items():
                    if version.tags.get(name) != value:
                        client.set_model_version_tag(version.name, version.version, name, value)
                if MODEL_ID_TAG in version.tags:
                    tell_version(client, version.tags[MODEL_ID_TAG], version)
                earned = earned_aliases(conversion.evaluation, version.tags)
                reason = f"passed its gate, judged by {conversion.evaluation.judged_by}"
                return self._registered(version, self.give_aliases(version, earned, reason), created)

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
            earned = earned_aliases(conversion.evaluation, version.tags)
            if any(held.get(alias, 0) < number for alias in earned):
                return None
            return self._registered(version, _highest(earned, held, number), created=False)

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
            for version in self._all_versions(wanted):
                name, number = version.name.removesuffix(CONVERTED_SUFFIX), int(version.version)
                if name not in newest or newest[name].version < number:
                    newest[name] = ConvertedSource(
                        version=number,
                        source_sha256=version.tags.get("source_sha256"),
                        config_sha256=version.tags.get("config_sha256"),
                        export=version.tags.get(EXPORT_TAG),
                    )
        return newest

    def registered_models(self, wanted: str | None = None) -> Iterator["RegisteredModel"]:
        """All of them, with their newest versions and their aliases; page by page.

        Raises:
            MlflowException, OSError: as MLflow does.
        """
        token = None
        while True:
            page = self.client.search_registered_models(wanted, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def registered_model(self, name: str) -> "RegisteredModel | None":
        """One of them; None where there is none.

        Raises:
            MlflowException, OSError: as MLflow does.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def versions_of(self, name: str) -> Iterator["ModelVersion"]:
        """The versions of one registered model, whatever its name is.

        Raises:
            MlflowException, OSError: as MLflow does.
        """
        # A quote cannot be in a filter; a letter that may be any can.
        wanted = f"name LIKE '{name.replace(chr(39), '_')}'" if "'" in name else f"name = '{name}'"
        yield from (version for version in self._all_versions(wanted) if version.name == name)

    def _all_versions(self, wanted: str) -> Iterator["ModelVersion"]:
        """Page by page."""
        token = None
        while True:
            page = self.client.search_model_versions(wanted, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

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

    def _create(
        self,
        conversion: Conversion,
        files: Mapping[str, Path],
        report: Path | None,
        vocabulary: Vocabulary | None,
        links: Mapping[str, str],
    ) -> "ModelVersion":
        from mlflow.exceptions import MlflowException

        # First, because it is the name that a registry may refuse.
        self.register_name(registered_name(conversion))
        run = self._run(conversion)
        try:
            model = self._logged_model(conversion, run)
            log_inputs(self.client, run.info.run_id, run.info.experiment_id, conversion)
            self._record(conversion, run, model)
            self._file(run, conversion, files, report, links)
            self._fill(model, conversion, files, vocabulary)
        except (MlflowException, OSError):
            # So that nobody takes it for a run that goes on. The next attempt takes it up again, and ends it anew.
            with suppress(MlflowException, OSError):
                self.client.set_terminated(run.info.run_id, "FAILED")
            raise
        self.client.set_terminated(run.info.run_id, "FINISHED")
        self.client.create_model_version(
            name=registered_name(conversion),
            source=model.artifact_location,
            run_id=run.info.run_id,
            tags={**version_tags(conversion), MODEL_ID_TAG: model.model_id},
            model_id=model.model_id,
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

    def _logged_model(self, conversion: Conversion, run: "Run") -> "LoggedModel":
        tags = {KIND_TAG: CONVERTED, "model": registered_name(conversion), **version_tags(conversion)}
        return keyed_model(
            self.client,
            run.info.experiment_id,
            conversion.key,
            registered_name(conversion),
            tags,
            parameters(conversion),
            run,
        )

    def _record(self, conversion: Conversion, run: "Run", model: "LoggedModel") -> None:
        from mlflow.entities import Metric, Param

        # A parameter cannot be changed; one that an earlier attempt logged stays.
        missing = [Param(*item) for item in parameters(conversion).items() if item[0] not in run.data.params]
        # The run's own start as the time of every metric: logged again, a metric is the same point, not a second one.
        points = [Metric(name, value, run.info.start_time, 0) for name, value in costs(conversion).items()]
        points += measured(conversion.evaluation, run, model.model_id)
        for start in range(0, len(points), _POINTS):
            self.client.log_batch(run.info.run_id, metrics=points[start : start + _POINTS])
        for start in range(0, len(missing), _BATCH):
            self.client.log_batch(run.info.run_id, params=missing[start : start + _BATCH])

    def _file(
        self,
        run: "Run",
        conversion: Conversion,
        files: Mapping[str, Path],
        report: Path | None,
        links: Mapping[str, str],
    ) -> None:
        run_id = run.info.run_id
        for name, value in {**links, _NOTE_TAG: note(conversion, links)}.items():
            self.client.set_tag(run_id, name, value)
        for name, text in texts(conversion, files):
            self.client.log_text(run_id, text, name)
        for name, path in sorted(files.items()):
            if name == DRAWING_FILE or name.endswith(".json"):
                self.client.log_artifact(run_id, str(path))
        if report is not None:
            for path in report_files(report):
                self.client.log_artifact(run_id, str(path), REPORT_FOLDER)

    def _fill(
        self, model: "LoggedModel", conversion: Conversion, files: Mapping[str, Path], vocabulary: Vocabulary | None
    ) -> None:
        """Give the logged model the net, in the form that MLflow loads and serves."""
        from mlflow.models import Model

        # It brings PyTorch, which who only asks the registry need not wait for.
        from roastery.registry.flavor import save_model

        with tempfile.TemporaryDirectory(prefix="roastery-") as folder:
            net, saved = Path(folder, "net"), Path(folder, "model")
            net.mkdir()
            for name in MODEL_FILES & files.keys():
                _link(files[name], net / name)
            mlflow_model = Model(
                artifact_path=model.artifact_location, run_id=model.source_run_id, model_id=model.model_id
            )
            save_model(net, saved, vocabulary=vocabulary, mlflow_model=mlflow_model)
            fill(self.client, model, saved)

    def register_name(self, name: str) -> None:
        """Make a registered model of that name, where there is none."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def give_aliases(self, version: "ModelVersion", earned: Sequence[str], reason: str) -> str | None:
        """Give a version aliases, but never take one from a later version. The caller is the sole writer.

        Returns:
            The highest of them that it holds.
        """
        held, number = self._held_aliases(version.name), int(version.version)
        for alias in earned:
            if held.get(alias, 0) < number:
                move(self.client, version.name, alias, number, reason)
                held[alias] = number
        return _highest(earned, held, number)

    def _held_aliases(self, name: str) -> dict[str, int]:
        return holders(self.client.get_registered_model(name))


def _highest(earned: Sequence[str], held: Mapping[str, int], version: int) -> str | None:
    """The highest of the aliases that a version has earned and holds."""
    mine = [alias for alias in earned if held[alias] == version]
    return mine[-1] if mine else None


def measured(evaluation: Evaluation, run: "Run", model_id: str | None) -> list["Metric"]:
    """An evaluation's figures as a run's metrics, tied to the model and the dataset that they are of."""
    from mlflow.entities import Metric

    tied = {} if model_id is None else {"model_id": model_id}
    dataset = {"dataset_name": evaluation.dataset, "dataset_digest": dataset_digest(evaluation)}
    figures = evaluation_metrics(evaluation)
    return [Metric(name, value, run.info.start_time, 0, **dataset, **tied) for name, value in figures.items()]


def _link(file: Path, place: Path) -> None:
    """The same file under another name; a copy where it lies on another disk."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)


def _with_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"a conversion's key is letters, digits, '-', '_' and '.', not {key!r}")
    return f"tags.`{KEY_TAG}` = '{key}'"
