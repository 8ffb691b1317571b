"""An installation with a server and workers: runs that are triggered as the UI does it, scheduled, cancelled, lost."""

import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.xdist_group("workers"), pytest.mark.timeout(400)]

MODEL, FLEET = "convert_model/convert-model", "convert_fleet/convert-fleet"
PLANTED = b"planted-in-"
"""How the secrets of the installation begin."""


@pytest.fixture(scope="module")
def converted(installation: Any) -> Any:
    """The run of `boxes`, started through the API, when it is over. Its processes had the secrets."""
    run = installation.trigger(MODEL, model="boxes")
    worker = installation.await_that(lambda: installation.process_of("roastery-models", "roastery.stages.worker"))
    environment = worker.environ()
    assert environment["MLFLOW_TRACKING_PASSWORD"] == "planted-in-environment"
    assert environment["PGPASSWORD"] == "planted-in-block"
    return installation.await_final(run)


def test_a_run_started_as_the_ui_does_converts_the_model(installation: Any, converted: Any) -> None:
    assert converted["state"]["type"] == "COMPLETED", installation.said()
    assert converted["state"]["message"] == "version 1 of boxes.caffe2"
    assert converted["name"] == "convert boxes"
    assert converted["parameters"]["model"] == "boxes"
    assert converted["work_pool_name"] == "roastery-models"
    assert {"roastery"} <= set(converted["tags"])
    report = installation.artifact("report-boxes", converted["id"])
    assert "passed" in report["data"]
    with sqlite3.connect(installation.folder / "mlflow.db") as registry:
        assert registry.execute("select name, version from model_versions").fetchall() == [("boxes.caffe2", 1)]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"model": "../boxes"}, "does not match"),
        ({"model": "boxes", "runtimes": "onnx"}, "is not one of"),
        ({"model": "boxes", "max_ap_delta": 101}, "101 is greater than the maximum of 100"),
        ({"model": "boxes", "sample_images": 0}, "0 is less than the minimum of 1"),
        ({}, "'model' is a required property"),
    ],
)
def test_a_bad_parameter_is_refused_by_the_forms_schema(
    installation: Any, parameters: dict[str, Any], said: str
) -> None:
    place = f"/deployments/{installation.deployment(MODEL)['id']}/create_flow_run"
    code, answer = installation.refusal(place, {"parameters": parameters, "enforce_parameter_schema": True})
    assert code == 409
    assert said in answer


def test_the_forms_fields_are_described_with_choices_and_limits(installation: Any) -> None:
    for deployment in (MODEL, FLEET, "reevaluate_model/reevaluate-model", "reevaluate_fleet/reevaluate-fleet"):
        there = installation.deployment(deployment)
        fields = there["parameter_openapi_schema"]["properties"]
        assert all(field["description"] for field in fields.values())
        assert fields["runtimes"]["enum"] == ["as registered", "auto", "torch", "caffe2", "both"]
        assert there["enforce_parameter_schema"] is True
        assert there["description"]
        assert there["tags"] == ["roastery"]
    fields = installation.deployment(FLEET)["parameter_openapi_schema"]["properties"]
    assert fields["only"]["enum"] == ["all", "new", "changed", "new or changed"]
    assert fields["max_ap_delta"]["anyOf"][0] == {"maximum": 100, "minimum": 0, "type": "number"}


@pytest.mark.parametrize(
    ("deployment", "cron", "hour"),
    [(FLEET, "0 2 * * *", "T02:00:00"), ("reevaluate_fleet/reevaluate-fleet", "0 4 * * 0", "T04:00:00")],
)
def test_the_schedule_is_there_and_runs_are_planned_by_it(
    installation: Any, deployment: str, cron: str, hour: str
) -> None:
    there = installation.deployment(deployment)
    (schedule,) = there["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"], schedule["active"]) == (cron, "UTC", True)
    wanted = {"deployments": {"id": {"any_": [there["id"]]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    planned = installation.await_that(lambda: installation.ask("/flow_runs/filter", wanted))
    assert all(hour in run["expected_start_time"] for run in planned)


def test_fleets_and_their_models_wait_in_pools_of_their_own_with_limits(installation: Any) -> None:
    pools = {pool["name"]: pool for pool in installation.ask("/work_pools/filter", {})}
    assert pools["roastery-fleets"]["concurrency_limit"] == 4
    assert pools["roastery-models"]["concurrency_limit"] == 2
    assert installation.deployment(FLEET)["work_pool_name"] == "roastery-fleets"
    assert installation.deployment(FLEET)["global_concurrency_limit"]["limit"] == 1


def test_a_fleet_gives_each_of_its_models_a_run_of_the_deployment_and_tells_of_them_in_a_table(
    installation: Any, converted: Any
) -> None:
    installation.register("broken", weights="/nowhere/w.pkl")
    installation.register("tagged", tags=["team=a"])
    run = installation.trigger(FLEET, models=["bo*", "broken"], only="all")
    over = installation.await_final(run)
    assert (over["state"]["type"], over["state"]["message"]) == ("FAILED", "1 of 2 failed: broken")
    wanted = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}}
    (child,) = installation.ask("/flow_runs/filter", wanted)
    assert (child["name"], child["work_pool_name"]) == ("convert broken", "roastery-models")
    assert child["idempotency_key"] == f"{run}:broken:1"
    boxes, broken = json.loads(installation.artifact("fleet", run)["data"])
    assert (boxes["model"], boxes["seconds"], boxes["version"], boxes["difference"]) == ("boxes", "unchanged", 1, 0.0)
    assert (broken["model"], broken["verdict"]) == ("broken", "failed in resolve")
    assert broken["reason"].startswith("`/nowhere/w.pkl: no such checkpoint")


def test_a_model_over_its_time_is_stopped_on_its_worker_and_told_in_the_table(
    installation: Any, converted: Any
) -> None:
    # Another sample, so that there is something to do; the others are in the store.
    with installation.configured(timeouts={"model": 1.0}):
        run = installation.trigger(FLEET, models=["boxes"], only="all", sample_images=1000)
        over = installation.await_final(run)
    assert (over["state"]["type"], over["state"]["message"]) == ("FAILED", "1 of 1 failed: boxes")
    (row,) = json.loads(installation.artifact("fleet", run)["data"])
    assert (row["model"], row["verdict"]) == ("boxes", "timed out")
    assert row["reason"] == "`took longer than 1 s, and was stopped`"
    (child,) = installation.ask("/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}})
    assert installation.await_final(child["id"])["state"]["type"] == "CANCELLED"
    installation.await_that(lambda: installation.process_of("roastery-models", "roastery.stages.worker") is None)


def test_a_cancelled_run_is_over_and_its_processes_are_gone(installation: Any, converted: Any) -> None:
    # Other images to compare: its sample is not in the store.
    run = installation.trigger(MODEL, model="boxes", sample_images=3)
    worker = installation.await_that(lambda: installation.process_of("roastery-models", "roastery.stages.worker"))
    there = installation.children("roastery-models")
    assert worker in there
    installation.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert installation.await_final(run)["state"]["type"] == "CANCELLED"
    installation.await_gone(there)


def test_a_cancelled_fleet_cancels_its_models(installation: Any, converted: Any) -> None:
    run = installation.trigger(FLEET, models=["boxes"], only="all", sample_images=4)
    installation.await_that(lambda: installation.process_of("roastery-models", "roastery.stages.worker"))
    there = [*installation.children("roastery-models"), *installation.children("roastery-fleets")]
    installation.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert installation.await_final(run)["state"]["type"] == "CANCELLED"
    (child,) = installation.ask("/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}})
    assert installation.await_final(child["id"])["state"]["type"] == "CANCELLED"
    installation.await_gone(there)


def test_no_secret_reaches_a_log_an_artifact_a_parameter_or_a_database(installation: Any, converted: Any) -> None:
    """The secrets were in the environment of all processes that converted `boxes`: the fixture looked."""
    holding = [path for path in sorted(installation.folder.rglob("*")) if path.is_file() and _holds(path)]
    assert holding == []
    for place in ("/flow_runs/filter", "/task_runs/filter", "/artifacts/filter", "/logs/filter", "/deployments/filter"):
        assert PLANTED.decode() not in json.dumps(installation.ask(place, {}))


def _holds(path: Path) -> bool:
    return PLANTED in path.read_bytes()


def test_a_run_whose_worker_and_processes_are_killed_is_marked_as_crashed(installation: Any, converted: Any) -> None:
    (automation,) = installation.ask("/automations/filter", {})
    assert automation["name"] == "roastery-lost-runs"
    # Those 90 seconds are for installations whose server may be busy.
    content = {key: automation[key] for key in ("name", "description", "enabled", "actions")}
    content["trigger"] = automation["trigger"] | {"within": 40.0}
    installation.ask(f"/automations/{automation['id']}", content, method="PUT")
    run = installation.trigger(MODEL, model="boxes", sample_images=2)
    installation.await_that(lambda: installation.process_of("roastery-models", "roastery.stages.worker"))
    for process in [*installation.children("roastery-models"), psutil.Process(installation.pid("roastery-models"))]:
        process.send_signal(signal.SIGKILL)
    over = installation.await_final(run)
    assert over["state"]["type"] == "CRASHED"
    assert over["state"]["message"].startswith("It no longer says that it lives.")
