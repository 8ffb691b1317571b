"""The catalog: a conversion becomes one MLflow run and one registered version, however often it is logged.

Every step looks first and can be done twice: the run is found again by its key, metrics carry the run's own start as
their time, artifacts overwrite themselves, and the version is created last, with its tags, from a run that is whole.
Writers on one machine take turns; writers on several machines agree afterwards that the lowest version is the one.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from roastery.data.vocabulary import Vocabulary
from roastery.errors import RegistryDamaged, RegistryRefused, RegistryUnavailable, RoasteryError
from roastery.registry.address import registry_errors, sole_writer
from roastery.registry.flavor_files import link_or_copy
from roastery.registry.lineage import dataset_digest, log_inputs
from roastery.registry.logged_model import (
    CONVERTED,
    KIND_TAG,
    MODEL_ID_TAG,
    NEWEST_TAG,
    OF_TAG,
    SOURCE_VERSION_TAG,
    fill,
    keyed_model,
    retire_older,
    tell_version,
    version_of,
)
from roastery.registry.place import MlflowPlace, highest, with_key
from roastery.registry.record import (
    EXPORT_TAG,
    costs,
    earned_aliases,
    evaluation_metrics,
    is_of_a_class,
    name_mark,
    parameters,
    registered_name,
    version_tags,
)
from roastery.registry.run_files import (
    CONVERSION_FILE,
    DRAWING_FILE,
    NOTE_TAG,
    REPORT_FOLDER,
    note,
    report_files,
    texts,
)
from roastery.results import Conversion, ConvertedSource, Evaluation, Registered
from roastery.targets import suffixes, target_of

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Metric, Run
    from mlflow.entities.model_registry import ModelVersion

_BATCH = 100
"""Parameters that MLflow takes at once."""
_POINTS = 1000
"""Metrics that it takes."""


@dataclass(frozen=True)
class ConvertedVersion:
    """A version of a converted model, and the run that has its conversion."""

    name: str
    version: int
    run_id: str


class Catalog(MlflowPlace):
    """A place in MLflow where conversions are filed."""

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
            files: name to path. The target's files and JSON files are filed; a pickle or an archive of pickles
                (`model.pt2`) never is, and is left out.
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
                else:
                    self._tell_artifacts(conversion, str(version.run_id))
                for name, value in version_tags(conversion).items():
                    if version.tags.get(name) != value:
                        client.set_model_version_tag(version.name, version.version, name, value)
                if MODEL_ID_TAG in version.tags:
                    tell_version(client, version.tags[MODEL_ID_TAG], version)
                    retire_older(client, self.experiment_id(), name_mark(version.name))
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
            held = self.held_aliases(version.name)
            number = int(version.version)
            earned = earned_aliases(conversion.evaluation, version.tags)
            if any(held.get(alias, 0) < number for alias in earned):
                return None
            return self._registered(version, highest(earned, held, number), created=False)

    def converted(self, name: str | None = None) -> dict[str, ConvertedSource]:
        """The newest version of each converted model, by its registered name: what a fleet selects by.

        Args:
            name: ask of this registered name alone.

        Raises:
            RegistryRefused, RegistryUnavailable: as `log`.
        """
        newest: dict[str, ConvertedSource] = {}
        with registry_errors(self.tracking_uri):
            for version in self._converted_versions() if name is None else self.versions_of(name):
                number = int(version.version)
                if version.name not in newest or newest[version.name].version < number:
                    newest[version.name] = ConvertedSource(
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
        self.require_database()
        # Made first: its errors are told by itself.
        self.client  # noqa: B018
        with registry_errors(self.tracking_uri):
            # Of the page's entities little is kept: there may be many.
            return [
                ConvertedVersion(version.name, int(version.version), str(version.run_id))
                for version in self._converted_versions()
            ]

    def _converted_versions(self) -> Iterator["ModelVersion"]:
        for suffix in suffixes():
            yield from self.search_versions(f"name LIKE '%{suffix}'")

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

    def _tell_artifacts(self, conversion: Conversion, run_id: str) -> None:
        """Add what a later run made a filed conversion by: by sources that changed and gave the same files, say.

        What cannot be read stays as it is: whoever needs it is told.
        """
        try:
            filed = self._conversion(run_id)
        except (ValidationError, RegistryUnavailable):
            return
        if not conversion.needed <= filed.needed:
            both = filed.model_copy(update={"artifacts": tuple(sorted(conversion.needed | filed.needed))})
            self.client.log_text(run_id, both.model_dump_json(indent=2) + "\n", CONVERSION_FILE)

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
            source = log_inputs(self.client, run.info.run_id, run.info.experiment_id, conversion)
            self._record(conversion, run, model)
            self._file(run, conversion, files, report, links)
            self._fill(model, conversion, files, vocabulary)
        except (MlflowException, OSError):
            # So that nobody takes it for a run that goes on. The next attempt takes it up again, and ends it anew.
            with suppress(MlflowException, OSError):
                self.client.set_terminated(run.info.run_id, "FAILED")
            raise
        self.client.set_terminated(run.info.run_id, "FINISHED")
        number = version_of(source)
        made_of = {} if number is None else {SOURCE_VERSION_TAG: str(number)}
        self.client.create_model_version(
            name=registered_name(conversion),
            source=model.artifact_location,
            run_id=run.info.run_id,
            tags={**version_tags(conversion), MODEL_ID_TAG: model.model_id, **made_of},
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
        found = self.client.search_model_versions(with_key(conversion.key))
        return sorted((version for version in found if version.name == name), key=lambda version: int(version.version))

    def _run(self, conversion: Conversion) -> "Run":
        return self.keyed_run(
            conversion.key,
            conversion.resolved.name,
            {"family": conversion.resolved.meta_architecture, "target": conversion.target},
        )

    def _logged_model(self, conversion: Conversion, run: "Run") -> "LoggedModel":
        tags = {
            KIND_TAG: CONVERTED,
            NEWEST_TAG: "yes",
            OF_TAG: name_mark(registered_name(conversion)),
            "model": registered_name(conversion),
            "verdict": "passed" if conversion.evaluation.passed else "failed",
            "judged_by": conversion.evaluation.judged_by,
        }
        # No more: who searches models waits for every tag of each, and the version and the run have them all.
        return keyed_model(
            self.client, run.info.experiment_id, conversion.key, registered_name(conversion), tags, run=run
        )

    def _record(self, conversion: Conversion, run: "Run", model: "LoggedModel") -> None:
        from mlflow.entities import Metric

        # The run's own start as the time of every metric: logged again, a metric is the same point, not a second one.
        # MLflow's page shows them in this order.
        points = measured(conversion.evaluation, run, model)
        points += [Metric(name, value, run.info.start_time, 0) for name, value in costs(conversion).items()]
        for start in range(0, len(points), _POINTS):
            self.client.log_batch(run.info.run_id, metrics=points[start : start + _POINTS])
        self._record_parameters(parameters(conversion), run)

    def _record_parameters(self, wanted: Mapping[str, str], run: "Run") -> None:
        """A parameter cannot be changed; one that an earlier attempt, or a writer on another machine, logged stays."""
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        there = set(run.data.params)
        while missing := [Param(*item) for item in wanted.items() if item[0] not in there][:_BATCH]:
            try:
                self.client.log_batch(run.info.run_id, params=missing)
                there.update(param.key for param in missing)
            except MlflowException:
                now = set(self.client.get_run(run.info.run_id).data.params)
                if now == there:
                    raise
                there = now

    def _file(
        self,
        run: "Run",
        conversion: Conversion,
        files: Mapping[str, Path],
        report: Path | None,
        links: Mapping[str, str],
    ) -> None:
        from mlflow.entities import RunTag

        run_id = run.info.run_id
        said = {**links, NOTE_TAG: note(conversion, links)}
        self.client.log_batch(run_id, tags=[RunTag(*each) for each in said.items()])
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

        # What it brings is needed here alone.
        from roastery.registry.flavor import save_model

        with tempfile.TemporaryDirectory(prefix="roastery-") as folder:
            net, saved = Path(folder, "net"), Path(folder, "model")
            net.mkdir()
            for name in target_of(conversion.target).kept & files.keys():
                link_or_copy(files[name], net / name)
            mlflow_model = Model(
                artifact_path=model.artifact_location, run_id=model.source_run_id, model_id=model.model_id
            )
            save_model(net, saved, target=conversion.target, vocabulary=vocabulary, mlflow_model=mlflow_model)
            fill(self.client, model, saved)


def measured(evaluation: Evaluation, run: "Run", model: "LoggedModel | None") -> list["Metric"]:
    """An evaluation's figures as a run's metrics, tied to the model and the dataset that they are of.

    Those of single classes are the run's alone: whoever searches models would wait for hundreds of figures of each.
    """
    from mlflow.entities import Metric

    tied = {} if model is None else {"model_id": model.model_id}
    # MLflow refuses a second figure of a model at the same time, also of an attempt that was cut short.
    there = {point.key for point in (model.metrics or () if model else ()) if point.run_id == run.info.run_id}
    dataset = {"dataset_name": evaluation.dataset, "dataset_digest": dataset_digest(evaluation)}
    figures = evaluation_metrics(evaluation)
    return [
        Metric(name, value, run.info.start_time, 0, **dataset, **({} if is_of_a_class(name) or name in there else tied))
        for name, value in figures.items()
    ]
