"""`roastery gc`: what it says and asks, and when it removes nothing. Real conversions: tests/flows/test_gc.py."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cli.gc
from cli.main import app
from roastery.registry.catalog import Catalog
from roastery.store import Store

OLD, YOUNG = "0" * 64, "1" * 64


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's empty tables: making them anew would cost each test seconds."""
    database = tmp_path_factory.mktemp("registry") / "empty.db"
    Catalog(f"sqlite:///{database}").client.search_registered_models()
    return database


@pytest.fixture
def registry(empty_registry: Path, tmp_path: Path) -> str:
    shutil.copy(empty_registry, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two artifacts: one is two days old."""
    store = Store(str(tmp_path / "store"))
    for key in (OLD, YOUNG):
        with store.build("trace", key) as build:
            (build.directory / "model.pt2").write_bytes(b"\0" * 3_000_000)
    then = time.time() - 2 * 24 * 3600
    for file in (tmp_path / "store" / "trace" / OLD).iterdir():
        os.utime(file, (then, then))
    return store


@pytest.fixture
def gc(store: Store, registry: str, tmp_path: Path) -> Callable[..., Any]:
    (tmp_path / "pipeline.yaml").write_text(f"store: {store.url}\ntracking_uri: {registry}\n")

    def run(*arguments: str, says: str | None = None) -> Any:
        command = ["gc", "--pipeline", str(tmp_path / "pipeline.yaml"), *arguments]
        return CliRunner().invoke(app, command, input=says)

    return run


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    class System:
        stdin = stdout = Terminal

    monkeypatch.setattr(cli.gc, "sys", System)


def names(store: Store) -> set[str]:
    return {key for key in (OLD, YOUNG) if Store(store.url).find("trace", key)}


def test_without_a_terminal_it_shows_what_would_go_and_removes_nothing(gc: Any, store: Store, registry: str) -> None:
    done = gc()
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"store:  {store.url}"
    assert lines[1] == f"MLflow: {registry}"
    assert lines[2] == "kept: 0 artifacts that 0 registered versions or a running flow need, and 1 younger than 1d"
    assert [line.split()[:3] for line in lines if line.startswith("trace")] == [["trace", "1", "3.0"]]
    assert lines[-2] == "1 artifacts, 3.0 MB"
    assert lines[-1] == "nothing was removed; `roastery gc --yes` removes them"
    assert names(store) == {OLD, YOUNG}


def test_yes_removes_what_it_shows(gc: Any, store: Store) -> None:
    done = gc("--yes")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "removed 1 artifacts, 3.0 MB"
    assert names(store) == {YOUNG}
    again = gc("--yes")
    assert again.exit_code == 0
    assert again.stdout.splitlines()[-1] == "nothing to remove"


@pytest.mark.usefixtures("on_a_terminal")
@pytest.mark.parametrize(("says", "left"), [("y\n", {YOUNG}), ("n\n", {OLD, YOUNG}), ("\n", {OLD, YOUNG})])
def test_on_a_terminal_it_asks(gc: Any, store: Store, says: str, left: set[str]) -> None:
    done = gc(says=says)
    assert done.exit_code == 0, done.output
    assert "Remove them?" in done.stdout
    assert names(store) == left
    assert not [path for path in Path(store.url, ".leases").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("age", "left"), [("0", set()), ("1m", {YOUNG}), ("12h", {YOUNG}), ("3d", {OLD, YOUNG}), ("1w", {OLD, YOUNG})]
)
def test_what_is_younger_than_it_is_told_stays(gc: Any, store: Store, age: str, left: set[str]) -> None:
    assert gc("--older-than", age, "--yes").exit_code == 0
    assert names(store) == left


@pytest.mark.parametrize("age", ["", "5", "d", "-1d", "1 d", "1y", "1.5d", "٣d ", "1d2h"])
def test_what_is_no_age_is_one_line(gc: Any, store: Store, age: str) -> None:
    done = gc(f"--older-than={age}", "--yes")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"roastery: --older-than: {' '.join(repr(age).split())} is no age; say a number with m, h,")
    assert names(store) == {OLD, YOUNG}


def test_json_says_the_same_and_asks_nothing(gc: Any, store: Store, registry: str) -> None:
    done = gc("--json")
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    (artifact,) = content.pop("collectable")
    assert (artifact["artifact"], artifact["half_built"]) == (f"trace/{OLD}", False)
    assert artifact["bytes"] > 3_000_000
    assert content == {
        "store": store.url,
        "registries": [registry],
        "versions": 0,
        "kept": {"needed": 0, "young": 1},
        "removed": [],
    }
    assert names(store) == {OLD, YOUNG}
    assert json.loads(gc("--json", "--yes").stdout)["removed"] == [f"trace/{OLD}"]
    assert names(store) == {YOUNG}


def test_a_mistyped_registry_is_one_line_and_removes_nothing(gc: Any, store: Store, tmp_path: Path) -> None:
    """An empty one would need nothing, and all would go."""
    mistyped = f"sqlite:///{tmp_path}/mlfow.db"
    done = gc("--yes", "--older-than", "0", "--tracking-uri", mistyped)
    assert done.exit_code == 2
    assert done.stderr == f"roastery: {mistyped}: no such registry; name the one that models are filed in\n"
    assert not (tmp_path / "mlfow.db").exists()
    assert names(store) == {OLD, YOUNG}


def test_a_registry_that_does_not_answer_is_one_line_and_removes_nothing(
    gc: Any, store: Store, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = f"http://127.0.0.1:{free_port()}"
    done = gc("--yes", "--older-than", "0", "--tracking-uri", address)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith(f"roastery: {address}: ")
    assert names(store) == {OLD, YOUNG}


def test_a_version_whose_conversion_cannot_be_read_is_named_and_nothing_is_removed(
    gc: Any, store: Store, registry: str, tmp_path: Path, empty_registry: Path
) -> None:
    """Of whichever of the registries that are named."""
    client = Catalog(registry).client
    client.create_registered_model("m.caffe2")
    run = client.create_run(client.create_experiment("e", artifact_location=(tmp_path / "filed").as_uri()))
    client.create_model_version("m.caffe2", source=f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    shutil.copy(empty_registry, tmp_path / "other.db")
    for order in ((registry, f"sqlite:///{tmp_path}/other.db"), (f"sqlite:///{tmp_path}/other.db", registry)):
        options = [option for each in order for option in ("--tracking-uri", each)]
        done = gc("--yes", "--older-than", "0", *options)
        assert done.exit_code == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("roastery: conversion.json of m.caffe2 version 1 cannot be read: ")
        assert names(store) == {OLD, YOUNG}
    client.log_text(run.info.run_id, "{}", "conversion.json")
    done = gc("--yes", "--older-than", "0")
    assert done.exit_code == 2
    assert "conversion.json of m.caffe2 version 1 is of another Roastery, or damaged" in done.stderr
    assert names(store) == {OLD, YOUNG}


def test_a_password_in_an_address_is_refused_and_not_repeated(gc: Any) -> None:
    done = gc("--tracking-uri", "http://a:5000", "--tracking-uri", "http://user:planted@host:5000")
    assert done.exit_code == 2
    assert "holds a password; keep it out of configs" in done.stderr
    assert "planted" not in done.output


def test_a_store_that_is_not_there_has_nothing_to_remove(gc: Any, tmp_path: Path) -> None:
    done = gc("--store", str(tmp_path / "nowhere"))
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "nothing to remove"
