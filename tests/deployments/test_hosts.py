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


@pytest.fixture(scope="module")
def fleet(hosts: Any) -> Any:
    """A fleet of three models, when it is over."""
    for number, name in enumerate(("first", "second"), 1):
        hosts.register(name, overrides=["MODEL.ROI_HEADS.SCORE_THRESH_TEST", f"0.1{number}"])
    return hosts.await_final(hosts.trigger(FLEET, only="all", models=["boxes", "first", "second"], where="workers"))


def test_a_fleet_is_converted_by_the_workers_of_both_hosts(hosts: Any, fleet: Any) -> None:
    assert fleet["state"]["type"] == "COMPLETED", hosts.said()
    runs = hosts.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["convert_model"]}}})
    assert {run["state"]["type"] for run in runs} == {"COMPLETED"}
    assert len(runs) == 3
    for host in hosts.names:
        log = (hosts.logs / f"{host}-worker.log").read_text()
        assert "convert " in log, f"{host} did nothing: {log[-2000:]}"


def test_the_hosts_share_no_folder(hosts: Any, fleet: Any) -> None:
    """What stands in the runs' parameters is names; what a host reads lies below its own folder."""
    for host in hosts.names:
        others = [other for other in ("hub", *hosts.names) if other != host]
        for file in (hosts.folder / host / "configs").rglob("*.yaml"):
            assert not any(f"/{other}/" in file.read_text() for other in others), file
        assert (hosts.folder / host / "cache").is_dir()


def test_records_lie_in_postgres_and_files_in_s3(hosts: Any, fleet: Any) -> None:
    # Beside those that the schedules will start.
    ran = "select state_type, count(*) from flow_run where state_type <> 'SCHEDULED' group by 1"
    assert hosts.postgres.ask("prefect", ran) == "COMPLETED|4"
    models = hosts.postgres.ask("mlflow", "select name, version from model_versions order by 1")
    assert models.splitlines() == ["boxes.caffe2|1", "first.caffe2|1", "second.caffe2|1"]
    filed = [path for path in hosts.files.find("detectors/mlflow") if path.endswith("/model_init.pb")]
    assert len(filed) == 3
    assert len([key for key in hosts.keys("convert") if key.endswith("/manifest.json")]) == 3
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
    before = len(hosts.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["convert_model"]}}}))
    again = hosts.await_final(hosts.trigger(FLEET, only="all", models=["boxes", "first", "second"], where="workers"))
    assert again["state"]["type"] == "COMPLETED"
    assert len(hosts.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["convert_model"]}}})) == before
    assert [len(hosts.versions(f"{name}.caffe2")) for name in ("boxes", "first", "second")] == [1, 1, 1]
