"""The shards of an evaluation on a Dask cluster: a scheduler and two workers, each a process of its own."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from outcomes import outcome_of
from processes import running_module

from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig

pytestmark = [pytest.mark.xdist_group("flows"), pytest.mark.timeout(300)]

Converted = tuple[PipelineConfig, Any, list[str]]
PATIENCE_SECONDS = 60.0
SHARDS = 4


class Cluster:
    """A scheduler and two workers, `one` and `two`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.address = f"tcp://127.0.0.1:{port}"
        self._folder = folder
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        self.workers = {name: self._start_worker(name) for name in ("one", "two")}

    def _start_worker(self, name: str) -> psutil.Popen:
        folder = str(self._folder / name)
        limits = ("--nthreads", "1", "--nworkers", "1", "--memory-limit", "0", "--no-dashboard")
        return self._start("worker", self.address, "--name", name, *limits, "--local-directory", folder)

    def _start(self, what: str, *arguments: str) -> psutil.Popen:
        name = arguments[arguments.index("--name") + 1] if "--name" in arguments else what
        with (self._folder / f"{name}.log").open("ab") as log:
            return psutil.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments], stdout=log, stderr=subprocess.STDOUT
            )

    def await_workers(self) -> None:
        from distributed import Client

        with Client(self.address, timeout=PATIENCE_SECONDS, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=PATIENCE_SECONDS)

    def done(self) -> dict[str, int]:
        """How many tasks each worker has done, by the worker's name."""
        from distributed import Client

        with Client(self.address, timeout=PATIENCE_SECONDS, set_as_default=False) as client:
            # By value: the workers do not find this module.
            counts = client.run(lambda dask_worker: (dask_worker.name, dask_worker.state.executed_count))
            return dict(counts.values())

    def is_at_work(self, name: str) -> bool:
        """Whether a process of a worker's does a stage."""
        return running_module(self.workers[name].children(recursive=True), "roastery.stages.worker") is not None

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def kill(self, name: str) -> None:
        """A worker, with its nanny, which would start it again, and all that it has started."""
        for process in [self.workers[name], *self.workers[name].children(recursive=True)]:
            process.kill()

    def close(self) -> None:
        for process in [*self.workers.values(), self.scheduler]:
            if process.is_running():
                for each in process.children(recursive=True):
                    each.kill()
                process.kill()
            process.wait()


@pytest.fixture
def cluster(free_port: Callable[[], int], tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    made = Cluster(folder, free_port())
    try:
        made.await_workers()
        yield made
    finally:
        made.close()


@pytest.fixture
def on_cluster(converted: Converted, cluster: Cluster, tmp_path: Path) -> PipelineConfig:
    """The pipeline of a conversion of which all is there but the evaluation, its shards on the cluster."""
    store = tmp_path / "store"
    shutil.copytree(converted[0].store, store, ignore=shutil.ignore_patterns("predict", "evaluate", "report"))
    places = {"store": str(store), "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"}
    return converted[0].model_copy(update={**places, "dask": cluster.address, "shards": SHARDS})


def test_shards_are_done_by_both_workers_and_give_the_figures_of_the_models_own_process(
    run_model: Any, converted: Converted, on_cluster: PipelineConfig, model: ModelSpec, few: DatasetSpec, cluster: Any
) -> None:
    before = outcome_of(converted[1]).conversion
    after = outcome_of(run_model(model, few, on_cluster)).conversion
    assert before is not None
    assert after is not None, cluster.log("one")
    assert after.evaluation.metrics == before.evaluation.metrics
    assert after.evaluation.verdicts == before.evaluation.verdicts
    done = cluster.done()
    assert sum(done.values()) == 2 * SHARDS
    assert min(done.values()) >= 1, done


def test_a_worker_that_is_lost_within_a_shard_leaves_it_to_the_other(
    run_model: Any, converted: Converted, on_cluster: PipelineConfig, model: ModelSpec, few: DatasetSpec, cluster: Any
) -> None:
    killed: list[bool] = []

    def kill() -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and not killed:
            if cluster.is_at_work("one") and any(Path(on_cluster.store).glob(".work/predict-*")):
                cluster.kill("one")
                killed.append(True)
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        after = outcome_of(run_model(model, few, on_cluster))
    finally:
        killer.join()
    assert killed
    before = outcome_of(converted[1]).conversion
    assert before is not None
    assert after.conversion is not None, after.failure
    assert after.conversion.evaluation.metrics == before.evaluation.metrics
    assert after.passed
    assert cluster.done().keys() == {"two"}


def test_a_scheduler_that_does_not_answer_is_named_and_the_run_fails(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, free_port: Any, tmp_path: Path
) -> None:
    nobody = f"tcp://127.0.0.1:{free_port()}"
    places = {"store": str(tmp_path / "store"), "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"}
    shutil.copytree(converted[0].store, places["store"], ignore=shutil.ignore_patterns("predict"))
    once = converted[0].retries.model_copy(update={"times": 0})
    pipeline = converted[0].model_copy(update={**places, "dask": nobody, "retries": once})
    failure = outcome_of(run_model(model, few, pipeline)).failure
    assert failure is not None
    assert failure.stage == "predict"
    assert failure.reason == (
        f"dask: no scheduler answers at {nobody}; start it (`dask scheduler`), or take `dask` out of pipeline.yaml"
    )
