"""A failed stage leaves what a person needs, and a stage that succeeds leaves nothing of an earlier failure."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from roastery.errors import CheckpointError, ConfigError, RuntimeFailed
from roastery.results import ArtifactRef
from roastery.spec import DatasetSpec, ModelSpec
from roastery.stages.export_onnx import ExportOnnxRequest
from roastery.stages.failure import explained, failure_of, inputs_of, read_asked, reason_of
from roastery.stages.process import InProcess, StageWorker
from roastery.stages.resolve import ResolveRequest, ResolveResult
from roastery.store import Store


@pytest.fixture
def request_(model: ModelSpec, dataset: DatasetSpec) -> ResolveRequest:
    return ResolveRequest(model=model.name, spec=model, dataset=dataset)


@pytest.fixture
def lost(request_: ResolveRequest, tmp_path: Path) -> ResolveRequest:
    """A request whose checkpoint is not there."""
    spec = request_.spec.model_copy(update={"weights": str(tmp_path / "nowhere.pkl")})
    return request_.model_copy(update={"spec": spec})


def left_by(store: Store, model: str = "mask", label: str = "resolve") -> Path:
    return Path(store.url) / "failures" / model / label


def fail(store: Store, request: ResolveRequest) -> Exception:
    with pytest.raises(CheckpointError) as caught, explained(store, request):
        InProcess().perform(request, ResolveResult, store, 60)
    return caught.value


def test_it_leaves_its_log_its_inputs_and_the_command_that_runs_it_alone(store: Store, lost: ResolveRequest) -> None:
    error = fail(store, lost)
    folder = left_by(store)
    assert sorted(file.name for file in folder.iterdir()) == ["failure.md", "log.txt", "request.json"]
    said = (folder / "failure.md").read_text()
    assert f"roastery stage resolve --from {folder}\n" in said
    assert str(error) in said
    assert f"    spec.weights: {lost.spec.weights}\n" in said
    assert f"    dataset.annotations: {lost.dataset.annotations}\n" in said
    log = (folder / "log.txt").read_text()
    assert "Traceback" in log
    assert "CheckpointError" in log
    asked = read_asked(str(folder))
    assert (asked.stage, asked.store) == ("resolve", store.url)
    assert ResolveRequest.model_validate(asked.request) == lost


def test_the_summary_says_the_stage_the_reason_in_one_line_and_where_to_look(
    store: Store, lost: ResolveRequest
) -> None:
    failure = failure_of(store, lost, fail(store, lost))
    assert (failure.stage, failure.mistake) == ("resolve", True)
    assert failure.reason == f"{lost.spec.weights}: no such checkpoint; mend `weights` of model 'mask'"
    assert failure.look == str(left_by(store))
    assert failure.command == f"roastery stage resolve --from {left_by(store)}"


def test_where_nothing_could_be_left_nobody_is_sent_to_look(store: Store, lost: ResolveRequest) -> None:
    Path(store.url).mkdir()
    (Path(store.url) / "failures").write_text("in the way")
    error = fail(store, lost)
    failure = failure_of(store, lost, error)
    assert (failure.look, failure.command) == (None, None)
    assert failure.reason.startswith(lost.spec.weights)


def test_a_stage_that_succeeds_removes_what_its_failure_left(
    store: Store, lost: ResolveRequest, request_: ResolveRequest
) -> None:
    fail(store, lost)
    with explained(store, request_):
        InProcess().perform(request_, ResolveResult, store, 60)
    assert not left_by(store).exists()


def test_on_an_s3_api_it_leaves_and_removes_the_same(s3: str, lost: ResolveRequest, request_: ResolveRequest) -> None:
    store = Store(f"{s3}/store")
    failure = failure_of(store, lost, fail(store, lost))
    assert failure.look == f"{s3}/store/failures/mask/resolve"
    assert ResolveRequest.model_validate(read_asked(failure.look).request) == lost
    with explained(store, request_):
        pass
    with pytest.raises(ConfigError, match="no such file"):
        read_asked(failure.look)


def test_the_log_of_a_worker_process_comes_with_its_error(store: Store, lost: ResolveRequest) -> None:
    with StageWorker("mask") as worker, pytest.raises(CheckpointError), explained(store, lost):
        worker.perform(lost, ResolveResult, store, 60)
    _, own = (left_by(store) / "log.txt").read_text().split("In its own process:\n")
    assert "in weights_sha256\n" in own


def test_of_a_crash_the_last_words_are_in_the_log_and_not_in_the_reason(store: Store, request_: ResolveRequest) -> None:
    with StageWorker("mask") as worker:

        def crash() -> None:
            deadline = time.monotonic() + 60
            while not _catches(worker.pid, signal.SIGSEGV) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGSEGV)

        # Another builder holds the key: the worker waits for it, and is there to be hit.
        with store.build("resolve", request_.key()):
            threading.Thread(target=crash).start()
            with pytest.raises(RuntimeFailed) as caught, explained(store, request_):
                worker.perform(request_, ResolveResult, store, 60)
    assert reason_of(caught.value) == "resolve: worker of mask was killed by a segmentation fault (SIGSEGV)"
    assert "Fatal Python error: Segmentation fault" in (left_by(store) / "log.txt").read_text()


def _catches(pid: int | None, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal: from then on a crash has last words."""
    if pid is None:
        return False
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file; name a folder that a failed stage left"),
        ("{", "not a stage's request"),
        ("[]", "not a stage's request"),
        ('{"stage": "trace"}', "not a stage's request"),
        ('{"stage": "trace", "store": "s", "request": 1}', "not a stage's request"),
        ("[" * 100_000, "not a stage's request"),
    ],
)
def test_a_folder_that_holds_no_request_is_the_users_mistake(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "request.json").write_text(content)
    with pytest.raises(ConfigError, match=said):
        read_asked(str(tmp_path))


def test_a_request_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "request.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match="too large"):
        read_asked(str(tmp_path))


@pytest.mark.parametrize("name", ["../x", "a/b", "/x", "", "a\nb", ".."])
def test_a_model_or_a_key_that_is_no_name_reaches_no_path(request_: ResolveRequest, name: str) -> None:
    with pytest.raises(ValidationError):
        ResolveRequest(model=name, spec=request_.spec, dataset=request_.dataset)
    content = {"stage": "trace", "key": "0", "uri": "", "files": {}}
    for part in ("stage", "key"):
        with pytest.raises(ValidationError):
            ArtifactRef.model_validate({**content, part: name})


def test_the_inputs_of_a_stage_are_named_with_where_they_lie() -> None:
    program = ArtifactRef(stage="trace", key="0", uri="s3://b/trace/0", files={"model.pt2": "1", "facts.json": "2"})
    request = ExportOnnxRequest(model="m", program=program)
    assert dict(inputs_of(request)) == {"model": "m", "program": "s3://b/trace/0 (facts.json, model.pt2)"}


def test_what_is_left_is_json_and_text_whatever_the_error_says(store: Store, request_: ResolveRequest) -> None:
    hostile = "\ud800 <script> `x` \n# no heading\n" + "y" * 10
    with pytest.raises(CheckpointError), explained(store, request_):
        raise CheckpointError(hostile)
    folder = left_by(store)
    assert json.loads((folder / "request.json").read_text())["stage"] == "resolve"
    headings = [line for line in (folder / "failure.md").read_text().splitlines() if line.startswith("#")]
    assert headings == ["# resolve of mask failed", "## The stage alone", "## Its inputs"]
