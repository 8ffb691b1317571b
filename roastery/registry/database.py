"""Making MLflow's database, so that it is there whole or not at all."""

from pathlib import Path


def make_database(file: Path) -> None:
    """Make MLflow's tables in a SQLite file that is not there.

    MLflow makes them in more than fifty steps, and refuses for ever a file whose making was interrupted ("table ...
    already exists"). So the file gets its name when it is whole. One at a time: see `roastery.registry.address`.
    """
    if file.exists():
        return
    from mlflow.db import upgrade

    partial = file.with_name(f"{file.name}.new")
    partial.unlink(missing_ok=True)
    # What `mlflow db upgrade` does.
    upgrade.main([f"sqlite:///{partial}"], standalone_mode=False)
    partial.replace(file)
