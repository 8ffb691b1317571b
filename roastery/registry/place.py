"""A place in MLflow: the one client of it, and what is asked of it page by page."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from roastery.errors import ConfigError, RegistryRefused
from roastery.registry.address import absolute_uri, quiet_mlflow, registry_errors, sqlite_file
from roastery.registry.aliases import holders, move
from roastery.registry.database import make_database
from roastery.registry.record import KEY_TAG, aliases_of
from roastery.registry.run_files import REPORT_FOLDER
from roastery.report.files import PAGE_FILE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

_KEY = re.compile(r"[A-Za-z0-9_.-]+")
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]*")
_UNASKABLE = re.compile(r"[^A-Za-z0-9_.-]")
_PAGE = 1000


class MlflowPlace:
    """A tracking server or database with its registry, and one experiment in it.

    Args:
        tracking_uri: "sqlite:///path/mlflow.db" (a relative path is taken from the working directory, now), or the
            address of an MLflow server.
        experiment: the experiment of the runs; created when it is not there. Beside a SQLite database its artifacts lie
            in `mlartifacts`; a server decides for itself.
    """

    def __init__(self, tracking_uri: str, experiment: str = "roastery") -> None:
        self.tracking_uri = absolute_uri(tracking_uri)
        self.experiment = experiment

    def require_database(self) -> None:
        """Refuse a SQLite database that is not there: it is not made for a question.

        Raises:
            ConfigError: it is not there.
        """
        database = sqlite_file(self.tracking_uri)
        if database is not None and not database.is_file():
            raise ConfigError(f"{self.tracking_uri}: no such registry; name the one that models are filed in")

    def load(self) -> None:
        """Import what of MLflow filing needs, which takes seconds: for a time when nothing else is to be done."""
        quiet_mlflow()
        import mlflow

        if sqlite_file(self.tracking_uri) is not None:
            import mlflow.store.model_registry.sqlalchemy_store
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    def registered_models(self, wanted: str | None = None) -> Iterator["RegisteredModel"]:
        """All of them, with their newest versions and their aliases; page by page.

        Raises:
            MlflowException, OSError: as MLflow does.
        """
        return paged(partial(self.client.search_registered_models, wanted, max_results=_PAGE))

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

    def version(self, name: str, number: int | None, alias: str | None) -> "ModelVersion | None":
        """The version of a registered model by its alias, else by its number; None where there is none.

        Raises:
            MlflowException, OSError: as MLflow does.
        """
        from mlflow.exceptions import MlflowException

        try:
            if alias is not None:
                return self.client.get_model_version_by_alias(name, alias)
            return self.client.get_model_version(name, str(number))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None

    def versions_of(self, name: str) -> Iterator["ModelVersion"]:
        """The versions of one registered model, whatever its name is.

        Raises:
            MlflowException, OSError: as MLflow does.
        """
        # Of a name that is not plain, each other letter may be any: nothing that somebody else chose is in a filter.
        plain = _UNASKABLE.sub("_", name)
        wanted = f"name = '{name}'" if plain == name else f"name LIKE '{plain}'"
        yield from (version for version in self.search_versions(wanted) if version.name == name)

    def search_versions(self, wanted: str) -> Iterator["ModelVersion"]:
        """Versions that fit a filter of MLflow's, page by page.

        Raises:
            MlflowException, OSError: as MLflow does.
        """
        return paged(partial(self.client.search_model_versions, wanted, max_results=_PAGE))

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
            RegistryRefused, RegistryUnavailable: see `roastery.registry.address.registry_errors`.
        """
        quiet_mlflow()
        from mlflow import MlflowClient

        database = sqlite_file(self.tracking_uri)
        with registry_errors(self.tracking_uri):
            if database is not None:
                make_database(database)
            return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    def keyed_run(self, key: str, name: str, tags: Mapping[str, str]) -> "Run":
        """The one run of that key; it is begun where it is not there."""
        experiment = self.experiment_id()
        found = self.client.search_runs([experiment], with_key(key))
        if not found:
            self.client.create_run(experiment, run_name=name, tags={KEY_TAG: key, **tags})
            found = self.client.search_runs([experiment], with_key(key))
        return min(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def experiment_id(self) -> str:
        """The experiment's; it is created where it is not there.

        Raises:
            RegistryRefused: it is deleted, or its name cannot be a folder's.
        """
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
        held, number = self.held_aliases(version.name), int(version.version)
        for alias in earned:
            if held.get(alias, 0) < number:
                move(self.client, version.name, alias, number, reason)
                held[alias] = self._given_back(version.name, alias, number)
        return highest(earned, held, number)

    def _given_back(self, name: str, alias: str, number: int) -> int:
        """Writers on one machine take turns; one on another may have given the alias to a later version meanwhile,
        from which it has just been taken. Gives the version that holds it now.
        """
        later = [int(each.version) for each in self.versions_of(name) if alias in aliases_of(each.tags)]
        newest = max(later, default=number)
        if newest <= number:
            return number
        move(self.client, name, alias, newest, "a later version that passed, filed at the same time elsewhere")
        return newest

    def held_aliases(self, name: str) -> dict[str, int]:
        """Alias to version, of a registered model."""
        return holders(self.client.get_registered_model(name))


def paged(search: Callable[..., Any]) -> Iterator[Any]:
    """All that a search of MLflow's gives, page by page."""
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def newest(model: "RegisteredModel") -> "ModelVersion | None":
    """A registered model's newest version; None where it has none."""
    return max(model.latest_versions or (), key=lambda version: int(version.version), default=None)


def highest(earned: Sequence[str], held: Mapping[str, int], version: int) -> str | None:
    """The highest of the aliases that a version has earned and holds."""
    mine = [alias for alias in earned if held[alias] == version]
    return mine[-1] if mine else None


def with_key(key: str) -> str:
    """The filter that finds what has this key."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"a conversion's key is letters, digits, '-', '_' and '.', not {key!r}")
    return f"tags.`{KEY_TAG}` = '{key}'"
