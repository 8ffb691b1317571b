"""`roastery stage`: a failed stage alone, from what it left."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from roastery.errors import CheckpointError
from roastery.spec import DatasetSpec, ModelSpec
from roastery.stages.failure import explained, folder_of
from roastery.stages.resolve import STAGE, ResolveRequest
from roastery.stages.stage import perform
from roastery.store import Store


def stage(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["stage", *arguments])


@pytest.fixture
def failed(box_model: Path, shapes: Path, tmp_path: Path) -> tuple[ResolveRequest, Store]:
    """A stage that failed for want of its checkpoint."""
    spec = ModelSpec(name="m", config=box_model / "config.yaml", weights=str(tmp_path / "w.pkl"), dataset="d")
    dataset = DatasetSpec(name="d", images=shapes / "val" / "images", annotations=shapes / "val" / "instances.json")
    request = ResolveRequest(model="m", spec=spec, dataset=dataset)
    store = Store(str(tmp_path / "store"))
    with pytest.raises(CheckpointError), explained(store, request):
        perform(STAGE, request, store)
    return request, store


def test_once_it_is_mended_it_makes_its_artifact_and_removes_what_it_left(
    failed: tuple[ResolveRequest, Store], box_model: Path
) -> None:
    request, store = failed
    folder = folder_of(store, request)
    shutil.copy(box_model / "model_final.pkl", request.spec.weights)
    done = stage("resolve", "--from", folder)
    assert done.exit_code == 0, done.output
    assert store.find("resolve", request.key()) is not None
    assert done.output.startswith(f"resolve: {store.uri('resolve', request.key())} (")
    assert not Path(folder).exists()


def test_while_it_is_not_mended_it_says_so_in_one_line_and_leaves_it_again(
    failed: tuple[ResolveRequest, Store],
) -> None:
    request, store = failed
    folder = Path(folder_of(store, request))
    (folder / "log.txt").unlink()
    done = stage("resolve", "--from", str(folder))
    assert done.exit_code == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"roastery: {request.spec.weights}: no such checkpoint")
    assert (folder / "log.txt").exists()


def test_a_store_that_has_moved_is_named(failed: tuple[ResolveRequest, Store], box_model: Path, tmp_path: Path) -> None:
    request, store = failed
    shutil.copy(box_model / "model_final.pkl", request.spec.weights)
    moved = Path(store.url).rename(tmp_path / "moved")
    done = stage("resolve", "--from", str(moved / "failures" / "m" / "resolve"), "--store", str(moved))
    assert done.exit_code == 0, done.output
    assert Store(str(moved)).find("resolve", request.key()) is not None
    assert not Path(store.url).exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trace", "holds the request of stage 'resolve', not 'trace'; name that stage"),
        ("os", "holds the request of stage 'resolve', not 'os'"),
    ],
)
def test_another_stage_is_refused(failed: tuple[ResolveRequest, Store], name: str, said: str) -> None:
    request, store = failed
    done = stage(name, "--from", folder_of(store, request))
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("stage_name", "request_", "said"),
    [
        ("os", {}, "there is no stage 'os'"),
        ("resolve", {"model": "../m"}, "no request of stage 'resolve': model: "),
        ("log", {}, "no request of stage 'log': model: "),
    ],
)
def test_a_request_that_is_none_is_refused(
    tmp_path: Path, stage_name: str, request_: dict[str, str], said: str
) -> None:
    content = {"stage": stage_name, "store": str(tmp_path / "store"), "request": request_}
    (tmp_path / "request.json").write_text(json.dumps(content))
    done = stage(stage_name, "--from", str(tmp_path))
    assert done.exit_code == 2
    (line,) = done.stderr.strip().splitlines()
    assert said in line


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    done = stage("trace", "--from", str(tmp_path / "nowhere"))
    assert done.exit_code == 2
    assert "name a folder that a failed stage left" in done.stderr
