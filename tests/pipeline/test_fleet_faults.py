"""A fleet of the real command whose models' own processes die."""

import signal
import sqlite3
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

pytestmark = [pytest.mark.xdist_group("fleet-faults"), pytest.mark.timeout(300)]

MODULE = "flows.model_process"


class Killer:
    """Sends a signal to the process of a model each time that it comes, so often at the most, until the run ends."""

    def __init__(self, run: Any, model: str, number: signal.Signals, times: int) -> None:
        self.hit: set[int] = set()
        self._run, self._model, self._number, self._times = run, model, number, times
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        while len(self.hit) < self._times and not self._ended.wait(0.05):
            for process in self._run.descendants():
                if process.pid not in self.hit and self._is_the_models(process):
                    self.hit.add(process.pid)
                    process.send_signal(self._number)

    def _is_the_models(self, process: psutil.Process) -> bool:
        """Which model a process is of, its stage worker's log does not say; that it has one says it has begun."""
        try:
            begun = MODULE in process.cmdline() and any(
                "roastery.stages.worker" in child.cmdline() for child in process.children()
            )
            return begun and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def two(undisturbed: Any, project: Any) -> Any:
    """A project with the store and the registry of one conversion, and a second model, of another threshold."""
    configs = project.folder / "configs"
    there = {path.relative_to(configs): path.read_text() for path in configs.rglob("*.yaml")}
    configs.unlink()
    spec = yaml.safe_load(there[Path("models/boxes.yaml")])
    other = spec | {"name": "other", "overrides": ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.1"]}
    for name, content in {**there, Path("models/other.yaml"): yaml.safe_dump(other)}.items():
        (configs / name).parent.mkdir(parents=True, exist_ok=True)
        (configs / name).write_text(content)
    project.share(undisturbed, until="log")
    project.tracking_uri = undisturbed.tracking_uri
    return project


def states(home: Path, flow: str) -> list[tuple[str, str]]:
    """Names and states of a flow's runs, the oldest first."""
    with sqlite3.connect(f"file:{home / 'prefect.db'}?mode=ro", uri=True) as database:
        found = database.execute(
            "select r.name, r.state_type from flow_run r join flow f on f.id = r.flow_id where f.name = ?"
            " order by r.created",
            (flow,),
        )
        return [(str(name), str(state)) for name, state in found]


def test_a_process_that_crashes_each_time_is_its_models_failure_alone(two: Any) -> None:
    run = two.start("boxes", "other")
    with Killer(run, "other", signal.SIGSEGV, times=9) as killer:
        assert run.end() == 1
    assert len(killer.hit) == 2, "it was started once more"
    lines = run.said.splitlines()
    assert any("boxes" in line and "passed (torch)" in line and "unchanged" in line for line in lines), run.said
    assert any("other" in line and "crashed" in line for line in lines), run.said
    assert "other: failed in run: the process of other was killed by SIGSEGV" in run.said
    assert states(two.home, "convert_model") == [("convert other", "CRASHED")] * 2
    assert [state for _, state in states(two.home, "convert_fleet")] == ["FAILED"]


def test_a_process_that_is_killed_once_is_started_again_and_passes(two: Any) -> None:
    run = two.start("other", "boxes")
    with Killer(run, "other", signal.SIGKILL, times=1) as killer:
        assert run.end() == 0, run.said
    assert len(killer.hit) == 1
    assert states(two.home, "convert_model") == [("convert other", "CRASHED"), ("convert other", "COMPLETED")]
    assert [state for _, state in states(two.home, "convert_fleet")] == ["COMPLETED"]
