"""What Prefect and MLflow find in the environment of a command, unless the user says otherwise."""

import os
from pathlib import Path

HOME = Path(".roastery")
"""What a command leaves, beside the working directory."""


def prepare_environment(home: Path) -> None:
    """Before Prefect is imported: a home and a server of its own unless others are named, quiet, and telling nobody."""
    name_environment(home)
    # The server makes its database there, and does not make the folder.
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


def name_environment(home: Path) -> None:
    """As `prepare_environment`, for who only looks: nothing is made."""
    quiet = {
        "PREFECT_HOME": str(home.absolute() / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        # A busy machine starts it late, and the run would be lost.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
