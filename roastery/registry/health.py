"""Whether the registry can be used: asked for what is least, and never made or migrated."""

import re
import sqlite3
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from roastery.address import masked
from roastery.doctor.finding import Finding
from roastery.errors import RegistryUnavailable
from roastery.registry.address import absolute_uri, quiet_mlflow, registry_errors, sqlite_file

if TYPE_CHECKING:
    from sqlalchemy import Engine

_NAME = "MLflow store"
_SERVER = re.compile(r"https?://")
_DATABASE = re.compile(r"(sqlite|postgresql|mysql|mssql)\b")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.]{0,30}")
_SECONDS = 10.0


def look_at_registry(tracking_uri: str) -> Finding:
    """Whether a registry answers, and whether its tables are those of this MLflow.

    Raises:
        RegistryRefused: it refuses.
    """
    if find_spec("mlflow") is None:
        return Finding(_NAME, "missing", "MLflow is not installed", "pip install -c constraints.txt -e '.[pipeline]'")
    quiet_mlflow()
    uri = absolute_uri(tracking_uri)
    database = sqlite_file(uri)
    if database is not None and not database.exists():
        return Finding(_NAME, "ok", f"{uri} is not there yet; the first run makes it")
    try:
        return _look_at_tables(uri, database) if _DATABASE.match(uri) else _ask(uri)
    except RegistryUnavailable as error:
        mend = "start it (`roastery up` starts one)" if database is None else "restore it"
        way_out = f"{mend}, or correct the address: tracking_uri or ROASTERY_TRACKING_URI"
        return Finding(_NAME, "wrong", f"{masked(uri)} cannot be asked: {_reason(error)}", way_out)


def _ask(uri: str) -> Finding:
    from mlflow import MlflowClient

    with registry_errors(masked(uri)):
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
    version = _server_version(uri) if _SERVER.match(uri) else ""
    return Finding(_NAME, "ok", f"{masked(uri)} answers{version}")


def _look_at_tables(uri: str, database: Path | None) -> Finding:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import inspect

    origin = find_spec("mlflow")
    assert origin is not None
    assert origin.origin is not None
    newest = ScriptDirectory(str(Path(origin.origin).parent / "store" / "db_migrations")).get_current_head()
    shown = masked(uri)
    with registry_errors(shown):
        engine = _reading(uri, database)
        try:
            with engine.connect() as connection:
                current = MigrationContext.configure(connection).get_current_revision()
                empty = not inspect(connection).get_table_names()
        finally:
            engine.dispose()
    if current == newest:
        return Finding(_NAME, "ok", f"{shown}: its tables are this MLflow's ({current})")
    if empty:
        return Finding(_NAME, "ok", f"{shown} is empty; the first run makes MLflow's tables")
    if current is None:
        return Finding(_NAME, "wrong", f"{shown} holds tables that are not MLflow's", "name another database")
    return Finding(
        _NAME,
        "wrong",
        f"{shown}: its tables are another MLflow's ({current}, not {newest})",
        f"take a backup and run `mlflow db upgrade {shown}`, or install the MLflow that made them",
    )


def _reading(uri: str, database: Path | None) -> "Engine":
    """An engine that writes nothing."""
    from sqlalchemy import create_engine

    if database is None:
        return create_engine(uri)
    address = f"file:{quote(str(database))}?mode=ro"
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True))


def _server_version(uri: str) -> str:
    """What a server says of itself; "" where it does not say."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=_SECONDS) as answer:  # noqa: S310
            said = answer.read(100).decode(errors="replace").strip()
    except (OSError, ValueError):
        return ""
    return f": MLflow {said}" if _VERSION.fullmatch(said) else ""


def _reason(error: BaseException) -> str:
    """What it began with: the libraries between tell each other's words in one line."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    said = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return said[0][:300] if said else type(error).__name__
