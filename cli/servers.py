"""What `roastery up` starts: a Prefect server, an MLflow server, and the deployments that work with both."""

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from cli.credentials import Credentials
from cli.service import Service

_LOOPBACK = "127.0.0.1"
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  (what it means is asked for, and refused without credentials)


@dataclass(frozen=True)
class Place:
    """Where the servers listen, and where everything is kept."""

    home: Path
    host: str
    prefect_port: int
    mlflow_port: int

    @property
    def reached_at(self) -> str:
        """The host by which this machine reaches them."""
        host = _LOOPBACK if self.host in _EVERYWHERE else self.host
        return f"[{host}]" if ":" in host else host

    @property
    def prefect(self) -> str:
        return f"http://{self.reached_at}:{self.prefect_port}"

    @property
    def mlflow(self) -> str:
        return f"http://{self.reached_at}:{self.mlflow_port}"


def prefect_service(place: Place, credentials: Credentials | None) -> Service:
    """Prefect's server, with its database in the home's `prefect`."""
    # The pages ask where they came from, by whatever name a browser knows it.
    environment = _prefect_environment(place) | _unless_set("PREFECT_UI_API_URL", "/api")
    if credentials is not None:
        environment["PREFECT_SERVER_API_AUTH_STRING"] = _auth_string(credentials)
    return Service(
        name="the Prefect server",
        command=[
            *(sys.executable, "-m", "prefect", "server", "start"),
            *("--host", place.host, "--port", str(place.prefect_port)),
        ],
        environment=environment,
        log=place.home / "logs" / "prefect.log",
        health=f"{place.prefect}/api/health",
    )


def mlflow_service(place: Place, credentials: Credentials | None) -> Service:
    """MLflow's server, with its database and its artifacts in the home."""
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", place.host, "--port", str(place.mlflow_port)),
        *("--backend-store-uri", f"sqlite:///{place.home / 'mlflow.db'}"),
        *("--artifacts-destination", str(place.home / "mlartifacts"), "--workers", "1"),
    ]
    environment = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    # Eight processes for jobs that nobody gives it, such as the evaluation of language models: 2 GiB.
    environment |= _unless_set("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    if place.host not in (_LOOPBACK, *_EVERYWHERE):
        # MLflow's own pages may ask it, and by default only those of this machine do.
        environment |= _unless_set("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", place.mlflow)
    if credentials is not None:
        command += ["--app-name", "basic-auth"]
        environment |= _mlflow_auth(place.home, credentials)
    return Service(
        name="the MLflow server",
        command=command,
        environment=environment,
        log=place.home / "logs" / "mlflow.log",
        health=f"{place.mlflow}/health",
    )


def deployments_service(place: Place, credentials: Credentials | None, configs: Path, processes: int | None) -> Service:
    """What starts the runs."""
    environment = _prefect_environment(place) | {
        "PREFECT_API_URL": f"{place.prefect}/api",
        "ROASTERY_TRACKING_URI": place.mlflow,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "PYTHONUNBUFFERED": "1",
    }
    if credentials is not None:
        environment |= {
            "PREFECT_API_AUTH_STRING": _auth_string(credentials),
            "MLFLOW_TRACKING_USERNAME": credentials.user,
            "MLFLOW_TRACKING_PASSWORD": credentials.password,
        }
    limit = [] if processes is None else ["--processes", str(processes)]
    return Service(
        name="the deployments",
        command=[sys.executable, "-P", "-m", "deployments.serve", "--configs", str(configs.absolute()), *limit],
        environment=environment,
        log=place.home / "logs" / "deployments.log",
        ready="serving",
    )


def _prefect_environment(place: Place) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(place.home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # The user's own may name another server.
        "PREFECT_API_URL": f"{place.prefect}/api",
        "PREFECT_PROFILE": "ephemeral",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    }


def _unless_set(variable: str, value: str) -> dict[str, str]:
    """The user's own word goes over it."""
    return {} if variable in os.environ else {variable: value}


def _auth_string(credentials: Credentials) -> str:
    return f"{credentials.user}:{credentials.password}"


def _mlflow_auth(home: Path, credentials: Credentials) -> dict[str, str]:
    """MLflow takes the user's password only when it makes its database of users. So it makes that anew each time."""
    database = home / "mlflow-users.db"
    database.unlink(missing_ok=True)
    settings = home / "mlflow-auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{database}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "grant_default_workspace_access = false\n",
        encoding="utf-8",
    )
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_USERNAME": credentials.user,
        "MLFLOW_AUTH_ADMIN_PASSWORD": credentials.password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
    }
