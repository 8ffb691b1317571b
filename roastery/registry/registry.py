"""The registry as people and programs ask it: which models there are, how good they are, what runs where."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from roastery.cycles import cycles_left_alone
from roastery.errors import ConfigError
from roastery.reference_uri import SCHEME
from roastery.registry import versions
from roastery.registry.address import registry_errors, sole_writer
from roastery.registry.aliases import (
    PRODUCTION,
    Move,
    legal_alias,
    move,
    person,
    require_passed,
    stated,
    version_before,
)
from roastery.registry.answers import Event, Fetched, ModelAnswer, VersionAnswer, VersionsDiff
from roastery.registry.catalog import Catalog
from roastery.registry.listing import list_models, main_figures, matching
from roastery.registry.pictures import beside
from roastery.registry.record import CANDIDATE, VALIDATED
from roastery.registry.where import parse_where

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


class Registry:
    """Questions to the registry, on `MlflowClient`.

    Args:
        tracking_uri: "sqlite:///path/mlflow.db", or the address of an MLflow server.
        experiment: that conversions are filed in.

    Every method raises `RegistryUnavailable` where the registry does not answer, `RegistryRefused` where it will not,
    and `ConfigError` where there is none: a SQLite database is not made for a question.

    Examples:
        >>> registry = Registry("http://127.0.0.1:5000")                    # doctest: +SKIP
        >>> [each.model for each in registry.models(where="ap_delta_bbox < -0.1")]  # doctest: +SKIP
    """

    def __init__(self, tracking_uri: str, experiment: str = "roastery") -> None:
        self.catalog = Catalog(tracking_uri, experiment)

    def models(
        self,
        *,
        failed: bool = False,
        stale: bool = False,
        unconverted: bool = False,
        older_than: timedelta | None = None,
        where: str = "",
    ) -> list[ModelAnswer]:
        """Models in short, by name: those that fit all that is asked; all, where nothing is.

        Args:
            failed: whose newest converted version did not pass, or does not any more.
            stale: whose newest converted version is not of the newest source, or not by this Roastery.
            unconverted: registered sources that have no converted version.
            older_than: not measured for so long.
            where: figures of the last evaluation, as "ap_delta_bbox < -0.1 and ap_bbox > 40".

        Raises:
            ConfigError: `where` cannot be read.
        """
        conditions = parse_where(where) if where else ()
        # AP stands in the tags, which the list reads anyway. Other figures are asked for where MLflow searches them.
        told = [each for each in conditions if each.metric.startswith("ap_")]
        sought = tuple(each for each in conditions if each not in told)
        with self._asking():
            found = list_models(self.catalog)
            known = matching(self.catalog, sought) if sought else set()
        now = datetime.now(UTC)
        return [
            each
            for each in found
            if (not failed or each.verdict == "failed")
            and (not stale or each.stale)
            and (not unconverted or each.converted_version is None)
            and (older_than is None or (each.measured_at is not None and now - each.measured_at > older_than))
            and all(condition.holds(main_figures(each)) for condition in told)
            and (not sought or each.model_id in known)
        ]

    def show(self, name: str) -> VersionAnswer:
        """All that is known of a converted version: `NAME` (the newest), `NAME/VERSION` or `NAME@ALIAS`.

        Raises:
            ConfigError: there is none.
        """
        with self._asking():
            return versions.show(self.catalog, versions.find_version(self.catalog, name))

    def diff(self, name: str, one: int, other: int) -> VersionsDiff:
        """Two converted versions beside each other.

        Raises:
            ConfigError: there is none of that number.
        """
        with self._asking():
            found = [versions.find_version(self.catalog, f"{name}/{number}") for number in (one, other)]
            return versions.diff(self.catalog, *found)

    def pictures_beside(self, difference: VersionsDiff, folder: Path) -> list[Path]:
        """Write the reports' pictures of two versions, each beside the other's, into a folder.

        Raises:
            OutputError: a folder that cannot be written to.
        """
        with self._asking():
            return beside(self.catalog, difference, folder)

    def fetch(self, name: str, folder: Path) -> Fetched:
        """A converted version's files in a folder, verified against the digests of its conversion.

        Raises:
            ConfigError: there is no such version.
            RegistryDamaged: the registry's files are not those that were filed.
            OutputError: a folder that holds something else, or cannot be written.
        """
        with self._asking():
            version = versions.find_version(self.catalog, name)
        return versions.fetch(self.catalog, version, folder)

    def history(self, name: str) -> list[Event]:
        """All that happened to a model, the oldest first: registered, converted, measured again, aliases moved.

        Raises:
            ConfigError: there is no such model.
        """
        with self._asking():
            return versions.history(self.catalog, name)

    def promote(self, name: str, to: str = PRODUCTION, *, reason: str, version: int | None = None) -> Move | None:
        """Give an alias of people's own to a version that passes.

        Args:
            name: of a model; or of a version, as `show` has it.
            version: default: the one called `validated`, else the one called `candidate`.
            reason: goes on record.

        Returns:
            The move; None where the alias was there already.

        Raises:
            ConfigError: no such version, one that does not pass, or an alias that is not to be had.
        """
        alias, reason = legal_alias(to), stated(reason)
        with self._asking():
            chosen = self._promoted(name, version)
            with sole_writer(self.catalog.tracking_uri, chosen.name):
                # As it is now that nobody else writes.
                chosen = self.catalog.client.get_model_version(chosen.name, chosen.version)
                require_passed(chosen)
                return move(self.catalog.client, chosen.name, alias, int(chosen.version), reason, person())

    def roll_back(self, name: str, alias: str = PRODUCTION, *, reason: str) -> Move:
        """Give an alias back to the version that held it before.

        Raises:
            ConfigError: nobody held it before, or that one does not pass any more.
        """
        alias, reason = legal_alias(alias), stated(reason)
        with self._asking():
            full = versions.find_version(self.catalog, name).name
            with sole_writer(self.catalog.tracking_uri, full):
                model = self.catalog.client.get_registered_model(full)
                before = version_before(model, alias)
                require_passed(versions.find_version(self.catalog, f"{full}/{before}"))
                made = move(self.catalog.client, full, alias, before, reason, person(), back=True)
                assert made is not None
                return made

    def _promoted(self, name: str, version: int | None) -> "ModelVersion":
        if version is not None:
            return versions.find_version(self.catalog, f"{name}/{version}")
        newest = versions.find_version(self.catalog, name)
        if set(name.removeprefix(SCHEME)) & set("/@"):
            return newest
        model = self.catalog.client.get_registered_model(newest.name)
        for alias in (VALIDATED, CANDIDATE):
            if alias in model.aliases:
                return self.catalog.client.get_model_version(newest.name, str(model.aliases[alias]))
        raise ConfigError(f"{newest.name}: no version passes its gate; convert it again, or name one with --version")

    @contextmanager
    def _asking(self) -> Iterator[None]:
        self.catalog.require_database()
        # Made first: its own errors are told by itself.
        self.catalog.client  # noqa: B018
        with registry_errors(self.catalog.tracking_uri), cycles_left_alone():
            yield
