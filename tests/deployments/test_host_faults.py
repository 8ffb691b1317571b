"""What breaks past one machine, injected from outside at a boundary that is seen in the store.

Each ends in one registered version with the files that the store has, and a true state in Prefect.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

# Six are in every run of the tests, a worker of Dask lost (tests/flows/test_dask.py) among them: the likeliest.
nightly = pytest.mark.nightly
pytestmark = [
    pytest.mark.postgres,
    pytest.mark.namespaces,
    pytest.mark.xdist_group("hosts"),
    pytest.mark.timeout(900),
]

FLEET = "convert_fleet/convert-fleet"
STAGES = ("resolve", "sample", "trace", "export_onnx", "convert", "predict", "evaluate", "report", "log")
AWAY_SECONDS = 20.0
CUT_SECONDS = 30.0
_numbers = count(1)


@pytest.fixture
def model(hosts: Any) -> str:
    """A registered model that nobody has converted."""
    number = next(_numbers)
    name = f"fault{number}"
    hosts.register(name, overrides=["MODEL.ROI_HEADS.SCORE_THRESH_TEST", f"0.{200 + number}"])
    return name


@pytest.fixture(autouse=True)
def patient(hosts: Any) -> None:
    """Retries that outlast a server's start."""
    hosts.configure(retries={"times": 6, "delay": 2.0})


def begins(hosts: Any, stage: str) -> Callable[[], bool]:
    """Whether a stage is being done: somebody holds the lease of the artifact that it builds.

    The last one builds none; it begins where there is one report more than now.
    """
    if stage != "log":
        return lambda: bool(hosts.keys(f".leases/{stage}/"))
    before = reports(hosts)
    return lambda: reports(hosts) > before


def reports(hosts: Any) -> int:
    """How many are whole."""
    return sum(key.endswith("/manifest.json") for key in hosts.keys("report"))


def host_at_work(hosts: Any) -> str:
    """The one host on which a stage is done."""
    busy = [host for host in hosts.names if hosts.is_at_work(host)]
    assert len(busy) == 1, busy
    return str(busy[0])


def check(hosts: Any, model: str, run: Any, most: int) -> None:
    """One version, whose nets are those of the store, of finished runs; and nobody says that he still works."""
    assert run["state"]["type"] == "COMPLETED", f"{run['state']['message']}\n{hosts.said()}"
    (version,) = hosts.versions(f"{model}.caffe2")
    assert version.tags["verdict"] == "passed"
    # What the registry has is what the store has, byte for byte.
    import mlflow

    place = hosts.client().get_model_version_download_uri(version.name, version.version)
    filed = Path(mlflow.artifacts.download_artifacts(place, tracking_uri=hosts.mlflow))
    files = hosts.files
    made = [files.cat_file(path) for path in files.glob("detectors/roastery/convert/*/model.pb")]
    assert (filed / "model.pb").read_bytes() in made
    states = hosts.ask("/flow_runs/filter", {"flow_runs": {"tags": {"all_": [f"model:{model}"]}}})
    assert [state["state"]["type"] for state in states].count("COMPLETED") in range(1, most + 1)
    assert {state["state"]["type"] for state in states} <= {"COMPLETED", "CRASHED"}
    # A run that was killed leaves the lease of what it used, which is dead; of an artifact nobody holds one.
    assert not [key for key in hosts.keys(".leases") if not key.startswith((".leases/runs/", ".leases/gc"))]


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A disk of that size in the folder's place, which can be made larger."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)

    def resize(larger: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={larger}", folder], check=True)

    try:
        yield resize
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def converting(hosts: Any, model: str, stage: str, most: int = 1) -> Iterator[str]:
    """A fleet of that model, until a stage of it has begun; in the end it is over and right.

    Args:
        most: how many of the model's runs may come to a good end.
    """
    begun = begins(hosts, stage)
    run = hosts.trigger(FLEET, only="all", models=[model], where="workers")
    hosts.await_that(begun)
    yield run
    started = time.monotonic()
    check(hosts, model, hosts.await_final(run), most)
    print(f"{model}: right {time.monotonic() - started:.0f} s after the fault was over")


@pytest.mark.parametrize(
    "stage", [stage if stage == "predict" else pytest.param(stage, marks=nightly) for stage in STAGES]
)
def test_a_host_lost_within_a_stage_leaves_its_model_to_the_other(hosts: Any, model: str, stage: str) -> None:
    with converting(hosts, model, stage):
        lost = host_at_work(hosts)
        hosts.kill(f"{lost}-worker")
    hosts.start_worker(lost, "roastery-models")


@pytest.mark.parametrize("stage", [pytest.param("trace", marks=nightly), "predict"])
def test_prefects_server_killed_and_back_after_20_s_ends_in_one_version(hosts: Any, model: str, stage: str) -> None:
    with converting(hosts, model, stage):
        hosts.kill("prefect")
        time.sleep(AWAY_SECONDS)
        hosts.start_prefect()


@nightly
def test_mlflows_server_killed_and_back_after_20_s_ends_in_one_version(hosts: Any, model: str) -> None:
    with converting(hosts, model, "report"):
        hosts.kill("mlflow")
        time.sleep(AWAY_SECONDS)
        hosts.start_mlflow()


def test_postgres_killed_and_back_after_20_s_ends_in_one_version(hosts: Any, model: str) -> None:
    with converting(hosts, model, "predict"):
        hosts.postgres.kill()
        time.sleep(AWAY_SECONDS)
        hosts.postgres.start()


def test_a_host_cut_off_for_30_s_ends_in_one_version(hosts: Any, model: str) -> None:
    with converting(hosts, model, "predict"):
        cut = host_at_work(hosts)
        hosts.network.cut(cut)
        time.sleep(CUT_SECONDS)
        hosts.network.mend(cut)


def test_an_s3_that_is_busy_and_then_well_ends_in_one_version(hosts: Any, model: str) -> None:
    with converting(hosts, model, "export_onnx"):
        hosts.gate.stop("PUT", "/roastery/", "SlowDown", times=20)
    assert hosts.gate.stopped == 20
    hosts.gate.open()


@nightly
def test_a_full_disk_fails_the_model_by_name_and_the_next_fleet_goes_on_once_there_is_room(
    hosts: Any, model: str
) -> None:
    """The disk of the copies of what lies in the store: the model's own host has no room for its weights."""
    hosts.configure(retries={"times": 1, "delay": 0.1})
    for host in hosts.names:
        hosts.kill(f"{host}-worker")
    with small_disk(hosts.folder / "east" / "cache", "1m") as resize:
        # A process in a network of its own has its own list of disks, too: as it was when it began.
        hosts.start_worker("east", "roastery-models")
        run = hosts.await_final(hosts.trigger(FLEET, only="all", models=[model], where="workers"))
        assert run["state"]["type"] == "FAILED"
        table = hosts.artifact("fleet", run["id"])["data"]
        assert f"{hosts.folder}/east/cache/" in table
        assert "disk full; free some space and run again" in table
        assert hosts.versions(f"{model}.caffe2") == []
        resize("500m")
        again = hosts.await_final(hosts.trigger(FLEET, only="all", models=[model], where="workers"))
        assert again["state"]["type"] == "COMPLETED", hosts.said()
        hosts.kill("east-worker")
    assert len(hosts.versions(f"{model}.caffe2")) == 1
    for host in hosts.names:
        hosts.start_worker(host, "roastery-models")


@nightly
@pytest.mark.compiler
@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_jumps_an_hour_within_a_stage_ends_in_one_version(hosts: Any, model: str, seconds: int) -> None:
    # Of a host whose clock goes ahead the last word seems to be an hour old. It is taken for lost, and goes on.
    with hosts.clocks() as clocks, converting(hosts, model, "predict", most=2):
        clocks[host_at_work(hosts)].set(seconds)


@nightly
def test_two_fleets_over_one_model_on_two_hosts_at_once_file_one_version(hosts: Any, model: str) -> None:
    command = ("cli.main", "run", model, "--models")
    with ThreadPoolExecutor() as pool:
        both = [
            pool.submit(hosts.run_on, host, *command, str(hosts.folder / host / "configs" / "models"))
            for host in hosts.names
        ]
        done = [each.result() for each in both]
    assert [each.returncode for each in done] == [0, 0], done
    (version,) = hosts.versions(f"{model}.caffe2")
    assert version.tags["verdict"] == "passed"
    assert all(f"{model}.caffe2 version 1" in each.stdout for each in done)
