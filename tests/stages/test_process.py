"""The worker process: a stage's crash, hang or error comes back as what it is, and the next stage runs."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from roastery.errors import CheckpointError, RuntimeFailed
from roastery.spec import DatasetSpec, ModelSpec
from roastery.stages.process import InProcess, StageWorker
from roastery.stages.resolve import ResolveRequest, ResolveResult
from roastery.store import Store


@pytest.fixture
def worker() -> Iterator[StageWorker]:
    with StageWorker("mask") as worker:
        yield worker


@pytest.fixture
def request_(model: ModelSpec, dataset: DatasetSpec) -> ResolveRequest:
    return ResolveRequest(model=model.name, spec=model, dataset=dataset)


def test_it_gives_what_the_stage_gives(worker: StageWorker, request_: ResolveRequest, tmp_path: Path) -> None:
    here = InProcess().perform(request_, ResolveResult, Store(str(tmp_path / "here")), 60)
    there = worker.perform(request_, ResolveResult, Store(str(tmp_path / "there")), 60)
    assert there.facts == here.facts
    assert there.artifact.key == here.artifact.key


def test_one_process_serves_all_stages(worker: StageWorker, request_: ResolveRequest, store: Store) -> None:
    assert worker.pid is None
    worker.perform(request_, ResolveResult, store, 60)
    pid = worker.pid
    worker.perform(request_, ResolveResult, store, 60)
    assert worker.pid == pid
    assert pid not in (None, os.getpid())


def test_a_users_error_comes_back_as_its_class_and_the_process_lives(
    worker: StageWorker, request_: ResolveRequest, store: Store, tmp_path: Path
) -> None:
    lost = request_.spec.model_copy(update={"weights": str(tmp_path / "nowhere.pkl")})
    with pytest.raises(CheckpointError, match=r"nowhere\.pkl: no such checkpoint"):
        worker.perform(request_.model_copy(update={"spec": lost}), ResolveResult, store, 60)
    pid = worker.pid
    worker.perform(request_, ResolveResult, store, 60)
    assert worker.pid == pid


def test_a_stage_that_hangs_is_killed_at_its_timeout_and_can_be_tried_again(
    worker: StageWorker, request_: ResolveRequest, store: Store
) -> None:
    # Another builder holds the key, and does not end.
    with store.build("resolve", request_.key()) as build:
        with pytest.raises(RuntimeFailed, match="resolve: worker of mask did not answer within 2 s and was killed"):
            worker.perform(request_, ResolveResult, store, 2)
        assert worker.pid is None
        (build.directory / "never").touch()
    store = Store(store.url)
    (Path(store.url) / "resolve" / request_.key() / "manifest.json").unlink()
    assert worker.perform(request_, ResolveResult, store, 60).facts.dataset.images == 4


@pytest.mark.parametrize(
    ("number", "said"),
    [(signal.SIGSEGV, "a segmentation fault"), (signal.SIGKILL, r"killed by SIGKILL \(out of memory, or by hand\)")],
)
def test_a_crash_is_said_as_such(
    worker: StageWorker, request_: ResolveRequest, store: Store, number: signal.Signals, said: str
) -> None:
    def crash() -> None:
        while worker.pid is None:
            time.sleep(0.01)
        os.kill(worker.pid, number)

    with store.build("resolve", request_.key()):
        threading.Thread(target=crash).start()
        with pytest.raises(RuntimeFailed, match=said):
            worker.perform(request_, ResolveResult, store, 60)


def test_a_fault_of_the_program_is_no_reason_to_try_again(
    worker: StageWorker, request_: ResolveRequest, store: Store
) -> None:
    class Unknown(ResolveRequest):
        stage = "nope"

    with pytest.raises(Exception, match="nope: ValueError: there is no stage 'nope'") as caught:
        worker.perform(Unknown(**dict(request_)), ResolveResult, store, 60)
    assert not isinstance(caught.value, RuntimeFailed)


def test_asking_needs_no_pytorch() -> None:
    """The process that decides what to run stays small: a fleet has one beside each worker."""
    script = (
        "import sys, roastery.stages.process, roastery.stages\n"
        "from roastery.stages.worker import load_stage\n"
        "for name in roastery.stages.STAGES: load_stage(name)\n"
        "sys.exit(', '.join({'torch', 'onnx', 'prefect', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.stderr.strip() == ""
