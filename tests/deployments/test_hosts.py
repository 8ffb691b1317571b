"""Servers on one host, workers on two others, with nothing shared but the network: PostgreSQL, S3 and a fleet."""

from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.namespaces,
    pytest.mark.xdist_group("hosts"),
    pytest.mark.timeout(600),
]

FLEET = "convert_fleet/convert-fleet"
MODELS = ("boxes", "first", "second")


@pytest.fixture(scope="module")
def fleet(hosts: Any) -> Any:
    """A fleet of three models, when it is over, with what it left in the bucket, where other tests leave theirs."""
    for number, name in enumerate(MODELS[1:], 1):
        hosts.register(name, overrides=["MODEL.ROI_HEADS.SCORE_THRESH_TEST", f"0.1{number}"])
    before = set(hosts.files.find("detectors"))
    ended = hosts.await_final(hosts.trigger(FLEET, only="all", models=list(MODELS), where="workers"))
    hosts.files.invalidate_cache()
    return ended | {"files": set(hosts.files.find("detectors")) - before}


def runs_of_models(hosts: Any) -> list[Any]:
    """The runs of the fleet's models."""
    wanted = {"flow_runs": {"tags": {"any_": [f"model:{name}" for name in MODELS]}}}
    return list(hosts.ask("/flow_runs/filter", wanted))


def test_a_fleet_is_converted_by_the_workers_of_both_hosts(hosts: Any, fleet: Any) -> None:
    assert fleet["state"]["type"] == "COMPLETED", hosts.said()
    assert [run["state"]["type"] for run in runs_of_models(hosts)] == ["COMPLETED"] * len(MODELS)
    for host in hosts.names:
        log = (hosts.logs / f"{host}-worker.log").read_text()
        assert any(f"'convert {name}'" in log for name in MODELS), f"{host} did nothing: {log[-2000:]}"


def test_the_hosts_share_no_folder(hosts: Any, fleet: Any) -> None:
    """What stands in the runs' parameters is names; what a host reads lies below its own folder."""
    for host in hosts.names:
        others = [other for other in ("hub", *hosts.names) if other != host]
        for file in (hosts.folder / host / "configs").rglob("*.yaml"):
            assert not any(f"/{other}/" in file.read_text() for other in others), file
        assert (hosts.folder / host / "cache").is_dir()


def test_records_lie_in_postgres_and_files_in_s3(hosts: Any, fleet: Any) -> None:
    own = f"id = '{fleet['id']}' or tags::text ~ 'model:({'|'.join(MODELS)})'"
    states = hosts.postgres.ask("prefect", f"select state_type, count(*) from flow_run where {own} group by 1")
    assert states == "COMPLETED|4"
    models = "select name, version from model_versions where name ~ '^(boxes|first|second)[.]' order by 1"
    assert hosts.postgres.ask("mlflow", models).splitlines() == ["boxes.caffe2|1", "first.caffe2|1", "second.caffe2|1"]
    left = fleet["files"]
    assert len([path for path in left if "/mlflow/" in path and path.endswith("/model_init.pb")]) == 3
    converted = [path for path in left if "/roastery/convert/" in path and path.endswith("/manifest.json")]
    assert len(converted) == 3
    assert not list(hosts.folder.rglob("mlruns"))
    assert not list(hosts.folder.rglob("prefect.db"))


def test_a_version_comes_out_of_the_registry_as_the_store_has_it(hosts: Any, fleet: Any, tmp_path: Path) -> None:
    import mlflow

    (version,) = hosts.versions("boxes.caffe2")
    assert version.tags["verdict"] == "passed"
    place = hosts.client().get_model_version_download_uri("boxes.caffe2", version.version)
    filed = Path(mlflow.artifacts.download_artifacts(place, dst_path=str(tmp_path), tracking_uri=hosts.mlflow))
    files = hosts.files
    made = [files.cat_file(path) for path in files.glob("detectors/roastery/convert/*/model.pb")]
    assert (filed / "model.pb").read_bytes() in made


def test_the_next_fleet_finds_all_of_it_unchanged(hosts: Any, fleet: Any) -> None:
    before = len(runs_of_models(hosts))
    again = hosts.await_final(hosts.trigger(FLEET, only="all", models=list(MODELS), where="workers"))
    assert again["state"]["type"] == "COMPLETED"
    assert len(runs_of_models(hosts)) == before
    assert [len(hosts.versions(f"{name}.caffe2")) for name in MODELS] == [1, 1, 1]
