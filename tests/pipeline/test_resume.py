"""A conversion killed in each of its stages, and the same command again: it ends as if nobody had disturbed it.

One run is killed after another, in one folder, each where the store or the registry shows that the next stage began.
"""

import json
import re
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from roastery.stages import STAGES
from roastery.store import MANIFEST, Store

pytestmark = [pytest.mark.xdist_group("resume"), pytest.mark.timeout(900)]

MEASURED = {"timing.json", "latencies.json"}
"""What the work cost, which no two runs share."""
LONG = ("trace", "export_onnx", "convert")
"""Stages that last, so that who is killed in one never gets to its end."""


def in_stage(stage: str) -> Callable[[Any], bool]:
    return lambda project: project.is_begun(stage)


def predicting(target_number: int, shards: int = 2) -> Callable[[Any], bool]:
    """Whether the targets before are done and this one is not."""

    def event(project: Any) -> bool:
        done = len(list(project.store.glob(f"predict/*/{MANIFEST}")))
        return project.is_begun("predict") and done // shards == target_number

    return event


def is_logging(project: Any) -> bool:
    """Whether MLflow has the run, and no version yet."""
    return project.database.exists() and rows(project.database, "runs") == 1 and not versions(project.database)


def rows(database: Path, table: str) -> int:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30) as connection:
        return int(connection.execute(f"select count(*) from {table}").fetchone()[0])


def versions(database: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30) as connection:
        return [tuple(row) for row in connection.execute("select name, version from model_versions")]


BOUNDARIES = {
    **{stage: in_stage(stage) for stage in STAGES if stage != "predict"},
    "predict original": predicting(0),
    "predict torch": predicting(1),
    "log": is_logging,
}


@dataclass
class Killed:
    """What was seen of the runs that were killed, and of the last one, which was not."""

    project: Any
    whole: dict[str, dict[Path, tuple[int, int]]] = field(default_factory=dict)
    """The boundary at which a run was killed: the files that were in whole artifacts then, with inode and time."""
    finished: dict[str, set[str]] = field(default_factory=dict)
    """The boundary: the stages that had a whole artifact after the kill."""
    trusted: list[str] = field(default_factory=list)
    """Folders without a manifest that the store takes for artifacts."""
    said: str = ""


@pytest.fixture(scope="module")
def killed(make_project: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Killed:
    seen = Killed(make_project(tmp_path_factory.mktemp("killed")))
    project = seen.project
    order = [
        *STAGES[: STAGES.index("predict")],
        "predict original",
        "predict torch",
        *STAGES[STAGES.index("predict") + 1 :],
        "log",
    ]
    assert set(order) == set(BOUNDARIES)
    for boundary in order:
        run = project.start()
        run.await_event(lambda boundary=boundary: BOUNDARIES[boundary](project))
        run.kill()
        run.await_silence()
        seen.whole[boundary] = {
            file: (file.stat().st_ino, file.stat().st_mtime_ns)
            for artifact in project.artifacts().values()
            for file in artifact.iterdir()
        }
        seen.finished[boundary] = {artifact.split("/")[0] for artifact in project.artifacts()}
        seen.trusted += [
            str(folder)
            for stage in STAGES
            for folder in project.store.glob(f"{stage}/*")
            if not (folder / MANIFEST).exists() and Store(str(project.store)).find(stage, folder.name)
        ]
    seen.said = project.run()
    return seen


def test_each_run_was_killed_in_its_stage(killed: Killed) -> None:
    for boundary, finished in killed.finished.items():
        stage = boundary.split()[0]
        assert finished >= set(STAGES[: STAGES.index(stage)] if stage in STAGES else STAGES)
        if stage in LONG:
            assert stage not in finished
    assert "passed (torch)" in killed.said


def test_a_folder_that_a_kill_left_without_its_manifest_is_no_artifact(killed: Killed) -> None:
    assert killed.trusted == []


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_what_was_whole_at_a_kill_is_not_made_again(killed: Killed, boundary: str) -> None:
    for file, before in killed.whole[boundary].items():
        assert (file.stat().st_ino, file.stat().st_mtime_ns) == before, file


def test_nothing_half_made_and_no_lease_is_left(killed: Killed) -> None:
    store = killed.project.store
    assert [path for folder in (".work", ".leases") for path in (store / folder).rglob("*") if path.is_file()] == []
    assert [path for stage in STAGES for path in store.glob(f"{stage}/*") if not (path / MANIFEST).exists()] == []


def test_the_artifacts_are_those_of_an_undisturbed_conversion_to_the_byte(killed: Killed, undisturbed: Any) -> None:
    ours, theirs = killed.project.artifacts(), undisturbed.artifacts()
    assert set(ours) == set(theirs)
    for artifact, folder in ours.items():
        other = theirs[artifact]
        names = {file.name for file in folder.iterdir()}
        assert names == {file.name for file in other.iterdir()}
        for name in names - MEASURED - {MANIFEST}:
            assert repeatable(folder / name) == repeatable(other / name), f"{artifact}/{name}"


def repeatable(file: Path) -> Any:
    """A file's content, without the milliseconds and seconds that were measured."""
    match file.name:
        case "evaluation.json":
            return json.loads(file.read_bytes()) | {"latency": None}
        case "facts.json" if file.parent.parent.name == "evaluate":
            facts = json.loads(file.read_bytes())
            return facts | {"evaluation": facts["evaluation"] | {"latency": None}}
        case "report.md":
            return re.sub(r"(?ms)^## (Latency|Stages)\n.*?(?=^## )", "", file.read_text())
        case "report.html":
            return re.sub(r'(?s)<section id="(latency|stages)".*?</section>', "", file.read_text())
    return file.read_bytes()


def test_one_version_is_registered_with_all_its_files(killed: Killed) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=killed.project.tracking_uri, registry_uri=killed.project.tracking_uri)
    assert rows(killed.project.database, "runs") == 1
    ((name, number),) = versions(killed.project.database)
    version = client.get_model_version_by_alias(name, "candidate")
    assert int(version.version) == number == 1
    assert client.get_run(version.run_id).info.status == "FINISHED"
    filed = {file.path for file in client.list_logged_model_artifacts(version.tags["model_id"])}
    assert filed >= {"model.pb", "model_init.pb", "model.onnx"}


def test_a_worker_killed_in_its_stage_is_replaced_in_the_same_run(undisturbed: Any, project: Any) -> None:
    project.share(undisturbed, until="trace")
    run = project.start()
    run.await_event(lambda: project.is_begun("trace"))
    (worker,) = (process for process in run.descendants() if "roastery.stages.worker" in process.cmdline())
    worker.send_signal(signal.SIGKILL)
    assert run.end() == 0, run.said
    assert set(project.artifacts()) == set(undisturbed.artifacts())
    assert versions(project.database) == [(f"{project.name}.caffe2", 1)]


def test_when_all_its_processes_are_killed_at_once_the_same_command_ends_it(undisturbed: Any, project: Any) -> None:
    project.share(undisturbed, until="export_onnx")
    run = project.start()
    run.await_event(lambda: project.is_begun("export_onnx"))
    for process in [psutil.Process(run.process.pid), *run.descendants()]:
        process.kill()
    run.process.wait()
    run.await_silence()
    assert "export_onnx" not in {artifact.split("/")[0] for artifact in project.artifacts()}
    project.run()
    assert set(project.artifacts()) == set(undisturbed.artifacts())
    assert versions(project.database) == [(f"{project.name}.caffe2", 1)]


def states(project: Any) -> Counter[str]:
    """How the runs of flows and tasks are or ended, as Prefect's database has it; none where there is none yet."""
    if not (project.home / "prefect.db").exists():
        return Counter()
    with sqlite3.connect(f"file:{project.home / 'prefect.db'}?mode=ro", uri=True, timeout=30) as connection:
        query = "select state_type from flow_run union all select state_type from task_run"
        return Counter(state for (state,) in connection.execute(query))


def test_prefect_is_told_of_a_run_that_was_killed_and_of_its_parts_and_of_no_other(
    undisturbed: Any, project: Any
) -> None:
    project.share(undisturbed, until="trace")
    run = project.start()
    # The fleet, the model (a run, and a task of the fleet), and the stage that is under way. What a task is at comes to
    # the database a while later.
    run.await_event(lambda: project.is_begun("trace") and states(project)["RUNNING"] == 4)
    run.kill()
    run.await_silence()
    assert states(project)["RUNNING"] == 4
    other = project.start()
    # The other's fleet and model run.
    other.await_event(lambda: states(project)["CRASHED"] == 4 and states(project)["RUNNING"] >= 2)
    project.run()
    assert other.end() == 0, other.said
    assert set(states(project)) == {"CRASHED", "COMPLETED"}
    assert states(project)["CRASHED"] == 4
    assert list((project.home / "running").iterdir()) == []
