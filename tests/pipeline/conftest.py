"""The real command in a process of its own, watched from outside."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from processes import runs

from roastery.stages import STAGES
from roastery.store import MANIFEST

NAME = "boxes"
PATIENCE_SECONDS = 120.0
PIPELINE: dict[str, Any] = {"shards": 2, "sample": {"n": 1}, "retries": {"delay": 0.1}}


class Command:
    """A running `roastery run`. It leads a session of its own."""

    def __init__(self, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
        self._said = (folder / "said.txt").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "run", *arguments],
            stdout=self._said,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        self._seen: dict[int, psutil.Process] = {}

    @property
    def said(self) -> str:
        self._said.seek(0)
        return self._said.read().decode()

    def await_event(self, event: Callable[[], Any]) -> None:
        """Wait until something can be seen from outside.

        Raises:
            AssertionError: the command ended before, or it took too long.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not event():
            assert self.process.poll() is None, f"the command ended before it was there: {self.said}"
            assert time.monotonic() < deadline, self.said
            time.sleep(0.001)
        self.descendants()

    def end(self) -> int:
        """Wait for its end, and for that of all that it started; gives the exit code."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.said
            self.descendants()
            time.sleep(0.02)
        # Its Prefect server at the least was seen.
        assert self._seen
        self.await_silence()
        return self.process.returncode

    def kill(self) -> None:
        """SIGKILL to the command itself, not to what it started."""
        self.descendants()
        self.process.kill()
        self.process.wait()

    def descendants(self) -> list[psutil.Process]:
        """What it has started so far, as far as anybody looked."""
        try:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self._seen.setdefault(child.pid, child)
        except psutil.NoSuchProcess:
            pass
        return list(self._seen.values())

    def await_silence(self) -> None:
        """Everything that it had started must end by itself."""
        deadline = time.monotonic() + 20
        while running := [process for process in self._seen.values() if runs(process)]:
            assert time.monotonic() < deadline, f"left behind: {[process.cmdline() for process in running]}"
            time.sleep(0.01)

    def close(self) -> None:
        for process in [*self.descendants(), self.process]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()
        self._said.close()


class Project:
    """Configs, a store, a registry and Prefect's home in a folder."""

    name = NAME

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.database = folder / "mlflow.db"
        self.home = folder / "prefect"
        self.tracking_uri = f"sqlite:///{self.database}"
        self.pipeline: dict[str, Any] = {}
        """What its pipeline.yaml has over the others'."""
        self._commands: list[Command] = []

    def start(self, *names: str) -> Command:
        arguments = [*(names or (NAME,)), "--models", str(self.folder / "configs" / "models")]
        arguments += ["--store", str(self.store), "--tracking-uri", self.tracking_uri]
        if self.pipeline:
            path = self.folder / "pipeline.yaml"
            path.write_text(yaml.safe_dump(PIPELINE | self.pipeline))
            arguments += ["--pipeline", str(path)]
        # Other tests of this process may have left a width, in which a table's cells would take two lines.
        environment = os.environ | {"PREFECT_HOME": str(self.home), "COLUMNS": "160"}
        command = Command(arguments, environment, self.folder)
        self._commands.append(command)
        return command

    def run(self, *names: str) -> str:
        """Run it to its end, which must be a good one; gives what it said."""
        command = self.start(*names)
        assert command.end() == 0, command.said
        return command.said

    def is_begun(self, stage: str) -> bool:
        """Whether a stage's work is under way."""
        return any(self.store.glob(f".work/{stage}-*"))

    def artifacts(self) -> dict[str, Path]:
        """The whole artifacts: `stage/key` to folder."""
        return {
            f"{manifest.parent.parent.name}/{manifest.parent.name}": manifest.parent
            for manifest in self.store.glob(f"*/*/{MANIFEST}")
        }

    def share(self, other: "Project", until: str) -> None:
        """Begin with the artifacts that another one has of the stages before this one."""
        for stage in STAGES[: (*STAGES, "log").index(until)]:
            shutil.copytree(other.store / stage, self.store / stage)

    def close(self) -> None:
        for command in self._commands:
            command.close()


@pytest.fixture(scope="session")
def make_project(configs: Path) -> Iterator[Callable[[Path], Project]]:
    """Make a project in an empty folder. What its commands left running is killed in the end."""
    made: list[Project] = []

    def make(folder: Path) -> Project:
        (folder / "configs").symlink_to(configs)
        project = Project(folder)
        made.append(project)
        return project

    yield make
    for project in made:
        project.close()


@pytest.fixture
def project(make_project: Callable[[Path], Project], tmp_path: Path) -> Project:
    """An empty project."""
    return make_project(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(make_project: Callable[[Path], Project], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose one conversion nobody disturbed."""
    project = make_project(tmp_path_factory.mktemp("undisturbed"))
    project.run()
    return project
