"""`roastery doctor`: really run, in a folder that it leaves as it was."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def doctor(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`roastery doctor` in an empty folder, with these options and variables."""
    folder = tmp_path / "project"
    folder.mkdir()

    def run(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        unset = {"PREFECT_API_URL", "PREFECT_HOME", "ROASTERY_STORE", "ROASTERY_TRACKING_URI"}
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        return subprocess.run(
            [sys.executable, "-P", "-m", "cli.main", "doctor", *options],
            check=False,
            cwd=folder,
            capture_output=True,
            text=True,
            env=environment | {"PYTHONPATH": path} | variables,
        )

    return run


def _states(found: list[dict[str, Any]]) -> dict[str, str]:
    return {each["name"]: each["state"] for each in found}


def test_where_nothing_is_wrong_it_ends_with_0_and_leaves_nothing(
    doctor: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    ended = doctor("--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert all(set(each) == {"name", "state", "found", "way_out"} for each in found)
    assert all(each["way_out"] for each in found if each["state"] in ("warning", "wrong"))
    told = {each["name"]: each["found"] for each in found}
    assert told["configuration"] == "no configs/pipeline.yaml here: the defaults"
    assert "not there yet" in told["MLflow store"]
    assert "not there yet" in told["artifact store"]
    assert list((tmp_path / "project").iterdir()) == []


def test_what_is_wrong_is_told_with_the_way_out_and_ends_it_with_1(
    doctor: Callable[..., subprocess.CompletedProcess[str]], free_port: Callable[[], int], tmp_path: Path
) -> None:
    (tmp_path / "a [red]file").write_text("")
    (tmp_path / "pipeline.yaml").write_text(f"store: '{tmp_path / 'a [red]file'}'\n")
    port = free_port()
    ended = doctor(
        *("--pipeline", str(tmp_path / "pipeline.yaml")),
        PREFECT_API_URL=f"http://team:planted-password@127.0.0.1:{port}/api",
        COLUMNS="300",
    )
    assert ended.returncode == 1, ended.stderr
    rows = {line.split("  ")[0]: line for line in ended.stdout.splitlines()}
    assert "wrong" in rows["Prefect API"]
    assert "wrong" in rows["artifact store"]
    assert f"{tmp_path / 'a [red]file'}: is no folder" in rows["artifact store"]
    assert "name another store" in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("2 wrong")
    assert "planted-password" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("content", [None, "stoer: a\n", "store: s3://key:planted-password@bucket\n"])
def test_a_configuration_that_cannot_be_read_is_told_and_what_it_names_is_not_looked_at(
    doctor: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "pipeline.yaml").write_text(content)
    ended = doctor("--json", "--pipeline", str(tmp_path / "pipeline.yaml"))
    assert ended.returncode == 1, ended.stderr
    states = _states(json.loads(ended.stdout))
    assert states["configuration"] == "wrong"
    assert "artifact store" not in states
    assert "planted-password" not in ended.stdout + ended.stderr


def test_the_places_of_the_environment_and_of_options_are_looked_at(
    doctor: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    ended = doctor("--json", "--tracking-uri", f"sqlite:///{tmp_path}/other.db", ROASTERY_STORE=str(tmp_path))
    told = {each["name"]: each["found"] for each in json.loads(ended.stdout)}
    assert told["configuration"] == "no configs/pipeline.yaml here: the defaults, and the environment's store"
    assert told["artifact store"].startswith(f"{tmp_path}: readable and writable")
    assert told["MLflow store"].startswith(f"sqlite:///{tmp_path}/other.db is not there yet")


def test_secrets_that_nobody_can_give_are_warned_of_by_their_variables(
    doctor: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "pipeline.yaml").write_text("secrets: {AWS_ACCESS_KEY_ID: key-id, AWS_SECRET_ACCESS_KEY: key}\n")
    ended = doctor("--json", "--pipeline", str(tmp_path / "pipeline.yaml"), AWS_ACCESS_KEY_ID="given")
    (secrets,) = (each for each in json.loads(ended.stdout) if each["name"] == "secrets")
    assert secrets["state"] == "warning"
    assert secrets["found"].startswith("from Prefect's blocks are to come AWS_SECRET_ACCESS_KEY, and")
