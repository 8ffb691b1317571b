"""What all stages share: work is done once, remembered with its cost, and keyed by what decides it."""

import json
from pathlib import Path

import pytest

from roastery.errors import ArtifactMissing, CheckpointError
from roastery.spec import DatasetSpec, ModelSpec
from roastery.stages import STAGES
from roastery.stages.resolve import STAGE, ResolveRequest
from roastery.stages.stage import FACTS_FILE, TIMING_FILE, perform, recall
from roastery.stages.worker import load_stage
from roastery.store import Store


@pytest.fixture
def request_(model: ModelSpec, dataset: DatasetSpec) -> ResolveRequest:
    return ResolveRequest(model=model.name, spec=model, dataset=dataset)


def test_work_that_was_done_is_not_done_again(request_: ResolveRequest, store: Store) -> None:
    first = perform(STAGE, request_, store)
    before = {path: path.stat().st_mtime_ns for path in Path(store.url).rglob("*") if path.is_file()}
    second = perform(STAGE, request_, store)
    assert {path: path.stat().st_mtime_ns for path in Path(store.url).rglob("*") if path.is_file()} == before
    assert (first.timing.cached, second.timing.cached) == (False, True)
    assert second.facts == first.facts
    assert second.timing.seconds == first.timing.seconds


def test_the_same_request_gives_the_same_files_but_for_their_cost(request_: ResolveRequest, tmp_path: Path) -> None:
    files = [perform(STAGE, request_, Store(str(tmp_path / name))).artifact.files for name in "ab"]
    for each in files:
        each.pop(TIMING_FILE)
    assert files[0] == files[1]


def test_work_that_raises_leaves_no_artifact(request_: ResolveRequest, store: Store, tmp_path: Path) -> None:
    key = request_.key()
    lost = request_.spec.model_copy(update={"weights": str(tmp_path / "nowhere.pkl")})
    with pytest.raises(CheckpointError, match="no such checkpoint; mend `weights` of model 'mask'"):
        perform(STAGE, request_.model_copy(update={"spec": lost}), store)
    assert store.find("resolve", key) is None


def test_an_artifact_of_another_stage_is_not_recalled(request_: ResolveRequest, store: Store) -> None:
    with store.build("resolve", request_.key()) as build:
        (build.directory / FACTS_FILE).write_text("{}")
    with pytest.raises(ArtifactMissing, match="delete it"):
        recall(STAGE, build.ref, store)


def test_facts_and_timing_lie_in_the_artifact(request_: ResolveRequest, store: Store) -> None:
    done = perform(STAGE, request_, store)
    folder = store.fetch(done.artifact)
    assert json.loads((folder / FACTS_FILE).read_text())["measures"]["iou_types"] == ["bbox", "segm"]
    timing = json.loads((folder / TIMING_FILE).read_text())
    assert timing["peak_memory_mb"] > 1
    assert timing["stage"] == "resolve"


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_there_under_its_name(name: str) -> None:
    assert load_stage(name).name == name


def test_what_is_no_stage_is_not_imported() -> None:
    with pytest.raises(ValueError, match="there is no stage 'os'"):
        load_stage("os")
