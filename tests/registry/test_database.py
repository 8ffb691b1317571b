"""A registry's database is there whole or not at all."""

import sqlite3
import subprocess
import sys
import time

import pytest

from roastery.registry.catalog import Catalog

MAKE = "import sys; from pathlib import Path; from roastery.registry.database import make_database as make; "


def tables_in(file):
    if not file.exists():
        return 0
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        return database.execute("select count(*) from sqlite_master where type = 'table'").fetchone()[0]


# MLflow's first tables, and some way through its migrations: it can go on from neither.
@pytest.mark.parametrize("tables", [1, 30])
def test_a_registry_whose_making_was_killed_takes_the_conversion_all_the_same(
    make_conversion, files, report, tmp_path, tables
):
    database = tmp_path / "mlflow.db"
    process = subprocess.Popen([sys.executable, "-c", f"{MAKE} make(Path(sys.argv[1]))", database])
    deadline = time.monotonic() + 60
    while tables_in(tmp_path / "mlflow.db.new") < tables:
        assert process.poll() is None
        assert time.monotonic() < deadline
    process.kill()
    process.wait()
    assert not database.exists()

    registered = Catalog(f"sqlite:///{database}").log(make_conversion(), files, report)

    assert (registered.version, registered.created, registered.alias) == (1, True, "candidate")
    assert {path.name for path in tmp_path.glob("mlflow.db*")} == {"mlflow.db", "mlflow.db.lock"}
