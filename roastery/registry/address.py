"""Where a registry is, whose turn it is to write to it, and what its errors mean."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from roastery.errors import RegistryRefused, RegistryUnavailable

_SQLITE = "sqlite:///"
_LOCK_SECONDS = 300.0
# MLflow's error codes of what asking again cannot mend. Everything else (a busy database, a server that is down, two
# writers at once) may pass.
_REFUSALS = frozenset(
    {
        "CUSTOMER_UNAUTHORIZED",
        "ENDPOINT_NOT_FOUND",
        "INVALID_PARAMETER_VALUE",
        "NOT_IMPLEMENTED",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
    }
)


def quiet_mlflow() -> None:
    """Before MLflow is imported: nothing sent anywhere, no minutes of retries (the caller retries)."""
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    # What a command says is for its caller: MLflow greets each run of a server on stdout.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # A bar for each file; the commands have their own.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def absolute_uri(tracking_uri: str) -> str:
    """The same address, whatever the working directory: a relative SQLite file becomes an absolute one."""
    database = sqlite_file(tracking_uri)
    return tracking_uri if database is None else f"{_SQLITE}{database}"


def sqlite_file(tracking_uri: str) -> Path | None:
    """The database file of a SQLite address, absolute; None for any other address."""
    if not tracking_uri.startswith(_SQLITE):
        return None
    return Path(tracking_uri.removeprefix(_SQLITE)).absolute()


@contextmanager
def sole_writer(tracking_uri: str, key: str) -> Iterator[None]:
    """One writer at a time on this machine: to a SQLite registry at all, to a server for this key.

    Raises:
        RegistryUnavailable: another one has been writing for five minutes.
    """
    database = sqlite_file(tracking_uri)
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        lock = database.with_name(database.name + ".lock")
    else:
        folder = Path(tempfile.gettempdir()) / f"roastery-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = folder / f"{hashlib.sha256(f'{tracking_uri} {key}'.encode()).hexdigest()}.lock"
    try:
        with FileLock(lock, timeout=_LOCK_SECONDS):
            yield
    except Timeout as error:
        raise RegistryUnavailable(
            f"{tracking_uri}: another process has been writing for {_LOCK_SECONDS:.0f} s"
        ) from error


@contextmanager
def registry_errors(tracking_uri: str) -> Iterator[None]:
    """MLflow's errors as ours: `RegistryRefused` for what a user must mend, `RegistryUnavailable` for what may pass."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        kind = RegistryRefused if error.error_code in _REFUSALS else RegistryUnavailable
        raise kind(f"{tracking_uri}: {_first_line(error)}") from error
    # The file of a database that cannot be opened, an artifact that cannot be copied or sent.
    except (SQLAlchemyError, OSError) as error:
        raise RegistryUnavailable(f"{tracking_uri}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
