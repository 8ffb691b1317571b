"""A worker that hangs or crashes, and a store that is damaged or in the way, met by the real command."""

import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(300)]

SEGMENTATION_FAULT = "a segmentation fault (SIGSEGV)"


def worker_of(run: Any) -> psutil.Process | None:
    """The process that does the stages, where there is one now."""
    for process in run.descendants():
        try:
            if "roastery.stages.worker" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except psutil.NoSuchProcess:
            continue
    return None


class Sender:
    """Sends a signal to each worker of a run that comes, until it ends."""

    def __init__(self, run: Any, number: signal.Signals) -> None:
        self.hit: set[int] = set()
        self._run, self._number = run, number
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        while not self._ended.wait(0.01):
            worker = worker_of(self._run)
            if worker is not None and worker.pid not in self.hit:
                self.hit.add(worker.pid)
                worker.send_signal(self._number)

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()


def half_made(store: Path) -> list[Path]:
    """What is in no whole artifact: work under way, and leases."""
    return [path for folder in (".work", ".leases") for path in (store / folder).rglob("*") if path.is_file()]


def test_a_worker_that_stands_still_is_killed_at_its_timeout_and_another_ends_the_stage(
    undisturbed: Any, project: Any
) -> None:
    project.share(undisturbed, until="evaluate")
    project.pipeline = {"timeouts": {"evaluate": 10}}
    run = project.start()
    run.await_event(lambda: project.is_begun("evaluate"))
    worker = worker_of(run)
    assert worker is not None
    worker.send_signal(signal.SIGSTOP)
    assert run.end() == 0, run.said
    assert not worker.is_running()
    assert set(project.artifacts()) == set(undisturbed.artifacts())
    assert half_made(project.store) == []


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGSTOP, "evaluate: worker of {name} did not answer within 1 s and was killed"),
        (signal.SIGSEGV, f"evaluate: worker of {{name}} was killed by {SEGMENTATION_FAULT}"),
    ],
    ids=["hangs", "segfaults"],
)
def test_a_worker_that_fails_each_time_fails_its_model_with_that_reason(
    undisturbed: Any, project: Any, number: signal.Signals, reason: str
) -> None:
    project.share(undisturbed, until="evaluate")
    project.pipeline = {
        "timeouts": {"evaluate": 1 if number == signal.SIGSTOP else 60},
        "retries": {"times": 1, "delay": 0},
    }
    run = project.start()
    with Sender(run, number) as sender:
        assert run.end() == 1, run.said
    assert len(sender.hit) == 2
    assert "evaluate" not in {artifact.split("/")[0] for artifact in project.artifacts()}
    said = reason.format(name=project.name)
    lines = run.said.splitlines()
    assert [line for line in lines if line.startswith(f"{project.name}: failed in evaluate: {said}")], run.said
    folder = project.store / "failures" / project.name / "evaluate"
    assert f"  look here:  {folder}" in lines
    assert f"\n    {said}" in (folder / "failure.md").read_text()
    assert half_made(project.store) == []
    project.pipeline = {}
    project.run()
    assert not folder.exists()
    assert set(project.artifacts()) == set(undisturbed.artifacts())


def test_a_damaged_file_is_built_again_alone(undisturbed: Any, project: Any) -> None:
    project.share(undisturbed, until="log")
    (detections,) = project.store.glob("evaluate/*/evaluation.json")
    whole = detections.read_bytes()
    detections.write_bytes(whole[:-3] + b"\0" + whole[-2:])
    said = project.run()
    done = [line.split()[1] for line in said.splitlines() if line.startswith(project.name) and line.endswith(" s")]
    assert done == ["evaluate", "log"]
    assert set(project.artifacts()) == set(undisturbed.artifacts())


def test_a_file_in_the_place_of_a_stages_folder_refuses_its_writes_until_it_goes(
    undisturbed: Any, project: Any
) -> None:
    project.share(undisturbed, until="evaluate")
    project.pipeline = {"retries": {"times": 3, "delay": 1.0}}
    way = project.store / "evaluate"
    way.write_text("in the way")
    run = project.start()
    log = project.store / "failures" / project.name / "evaluate" / "failure.md"
    run.await_event(log.exists)
    way.unlink()
    assert run.end() == 0, run.said
    assert set(project.artifacts()) == set(undisturbed.artifacts())
    assert not log.exists()
    assert half_made(project.store) == []
