import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from roastery.errors import RegistryRefused, RegistryUnavailable
from roastery.registry.aliases import moves
from roastery.registry.catalog import Catalog
from roastery.results import LatencySummary

ROOT = Path(__file__).parents[2]

# Logs the conversion of a JSON file when the start file appears, and prints what it was registered as.
LOG_WHEN_STARTED = """
import sys, time
from pathlib import Path
from roastery.registry.catalog import Catalog
from roastery.results import Conversion

uri, conversion_file, start, model = sys.argv[1:]
conversion = Conversion.model_validate_json(Path(conversion_file).read_text())
catalog = Catalog(uri)
catalog.client
Path(start + f".ready-{time.monotonic_ns()}").touch()
while not Path(start).exists():
    time.sleep(0.01)
files = {name: Path(model) / name for name in ("model.pb", "model_init.pb")}
print(catalog.log(conversion, files).model_dump_json())
"""


def versions_of(catalog, name):
    return [version for version in catalog.client.search_model_versions() if version.name == name]


def runs_of(catalog):
    client = catalog.client
    return client.search_runs([client.get_experiment_by_name(catalog.experiment).experiment_id])


def model_of(catalog, registered):
    """The logged model behind a registered version."""
    tags = catalog.client.get_model_version(registered.name, str(registered.version)).tags
    return catalog.client.get_logged_model(tags["model_id"])


def paths_under(client, run_id, folder=None):
    found = []
    for item in client.list_artifacts(run_id, folder):
        found += paths_under(client, run_id, item.path) if item.is_dir else [item.path]
    return sorted(found)


def test_a_conversion_becomes_a_finished_run_and_a_version_with_tags_and_alias(catalog, make_conversion, files, report):
    registered = catalog.log(make_conversion(), files, report)

    assert (registered.name, registered.version) == ("mask_rcnn_r50.caffe2", 1)
    assert (registered.alias, registered.created) == ("candidate", True)
    client = catalog.client
    version = client.get_model_version_by_alias("mask_rcnn_r50.caffe2", "candidate")
    assert (int(version.version), version.run_id) == (1, registered.run_id)
    assert (version.tags["verdict"], version.tags["judged_by"]) == ("passed", "torch")
    run = client.get_run(registered.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["original/bbox/AP"] == 62.4725
    assert run.data.params["dataset"] == "shapes_val"
    assert run.data.tags["roastery.key"] == make_conversion().key


def test_no_pickle_is_filed_and_the_report_goes_with_its_page_pictures_and_config(
    catalog, make_conversion, files, report
):
    registered = catalog.log(make_conversion(), files, report)

    assert paths_under(catalog.client, registered.run_id) == [
        "conversion.json",
        "evaluation.json",
        "manifest.json",
        "model.svg",
        "report/config.yaml",
        "report/report-1.png",
        "report/report-curves-bbox.svg",
        "report/report.html",
        "report/report.md",
        "reproduce.sh",
    ]
    names = {item.path for item in catalog.client.list_logged_model_artifacts(model_of(catalog, registered).model_id)}
    assert names >= {"MLmodel", "model.onnx", "model.pb", "model.pbtxt", "model.svg", "model_init.pb"}
    assert not [name for name in names if name.endswith((".pkl", ".pt2", ".pth"))]


def test_beside_a_database_a_run_is_seen_in_its_reports_page(catalog, make_conversion, files, report):
    registered = catalog.log(make_conversion(), files, report)

    assert registered.run_url.startswith("file:///")
    page = Path(unquote(urlsplit(registered.run_url).path))
    assert page.read_text() == report.with_suffix(".html").read_text()


def test_a_version_can_be_fetched_by_its_alias(catalog, make_conversion, files, tmp_path):
    catalog.log(make_conversion(), files)

    version = catalog.client.get_model_version_by_alias("mask_rcnn_r50.caffe2", "candidate")
    folder = mlflow.artifacts.download_artifacts(
        artifact_uri=catalog.client.get_model_version_download_uri(version.name, version.version),
        dst_path=str(tmp_path / "fetched"),
    )

    assert (Path(folder) / "model.pb").read_bytes() == files["model.pb"].read_bytes()


def test_artifacts_lie_beside_the_database_whatever_the_working_directory(
    catalog, make_conversion, files, tmp_path, monkeypatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    catalog.log(make_conversion(), files)

    assert list((tmp_path / "mlartifacts").rglob("model.pb"))
    assert list(elsewhere.iterdir()) == []


def test_logging_twice_makes_one_version_and_one_run(catalog, make_conversion, files):
    first = catalog.log(make_conversion(), files)
    second = catalog.log(make_conversion(), files)

    assert second == first.model_copy(update={"created": False})
    assert len(versions_of(catalog, first.name)) == 1
    assert len(runs_of(catalog)) == 1


def test_another_conversion_of_the_model_is_the_next_version_and_takes_the_alias(catalog, make_conversion, files):
    catalog.log(make_conversion(), files)
    second = catalog.log(make_conversion(key="b2" * 32), files)

    assert (second.version, second.created, second.alias) == (2, True, "candidate")


def test_an_earlier_conversion_logged_again_does_not_take_the_alias_back(catalog, make_conversion, files):
    catalog.log(make_conversion(), files)
    catalog.log(make_conversion(key="b2" * 32), files)
    again = catalog.log(make_conversion(), files)

    assert (again.version, again.created, again.alias) == (1, False, None)
    assert int(catalog.client.get_model_version_by_alias("mask_rcnn_r50.caffe2", "candidate").version) == 2


def test_a_conversion_is_found_once_it_is_filed_as_logging_it_again_would_tell(catalog, make_conversion, files):
    assert catalog.find(make_conversion()) is None
    first = catalog.log(make_conversion(), files)

    found = catalog.find(make_conversion())

    assert found == first.model_copy(update={"created": False})
    assert found == catalog.log(make_conversion(), files)
    assert catalog.find(make_conversion(key="b2" * 32)) is None
    assert catalog.find(make_conversion(name="another")) is None


def test_finding_writes_nothing(catalog, make_conversion, files, monkeypatch):
    catalog.log(make_conversion(), files)
    steps = ("create_", "log_", "set_", "delete_", "update_", "rename_", "transition_")
    for name in dir(catalog.client):
        if name.startswith(steps):
            monkeypatch.setattr(catalog.client, name, None)

    assert catalog.find(make_conversion()) is not None


@pytest.mark.parametrize("tag", ["verdict", "judged_by", "roastery.key"])
def test_a_version_that_wants_a_tag_is_not_found_so_that_it_is_logged_again(catalog, make_conversion, files, tag):
    registered = catalog.log(make_conversion(), files)
    catalog.client.delete_model_version_tag(registered.name, "1", tag)

    assert catalog.find(make_conversion()) is None


def test_a_version_that_wants_its_alias_is_not_found_unless_a_later_one_has_it(catalog, make_conversion, files):
    first = catalog.log(make_conversion(), files)
    catalog.client.delete_registered_model_alias(first.name, "candidate")
    assert catalog.find(make_conversion()) is None

    catalog.log(make_conversion(key="b2" * 32), files)
    found = catalog.find(make_conversion())

    assert found is not None
    assert (found.version, found.alias) == (1, None)
    assert found == catalog.log(make_conversion(), files)


def test_of_two_versions_of_a_key_neither_is_found(catalog, make_conversion, files):
    first = catalog.log(make_conversion(), files)
    tags = catalog.client.get_model_version(first.name, "1").tags
    catalog.client.create_model_version(first.name, source="file:///elsewhere", run_id=first.run_id, tags=tags)

    assert catalog.find(make_conversion()) is None


def test_the_newest_converted_version_of_each_model_is_told_with_what_it_was_made_of(
    catalog, make_conversion, files, monkeypatch
):
    assert catalog.converted() == {}
    for number in range(1, 12):
        # The tenth comes before the second to who sorts numbers as words.
        conversion = make_conversion(key=f"{number:02}" * 32)
        resolved = conversion.resolved.model_copy(update={"source_sha256": f"{number:02}" * 32})
        catalog.log(conversion.model_copy(update={"resolved": resolved}), files)
    catalog.log(make_conversion(name="another", key="c3" * 32, passed=False), files)
    catalog.client.create_registered_model("theirs")
    catalog.client.create_model_version("theirs", source="file:///elsewhere")
    catalog.client.create_registered_model("by_hand.caffe2")
    catalog.client.create_model_version("by_hand.caffe2", source="file:///elsewhere")

    told = catalog.converted()

    assert {name: source.version for name, source in told.items()} == {
        "mask_rcnn_r50.caffe2": 11,
        "another.caffe2": 1,
        "by_hand.caffe2": 1,
    }
    newest, by_hand = told["mask_rcnn_r50.caffe2"], told["by_hand.caffe2"]
    assert newest.source_sha256 == "11" * 32
    assert newest.config_sha256 == "c0" * 32
    assert (by_hand.source_sha256, by_hand.export) == (None, None)
    for page in (1, 3, 13):
        monkeypatch.setattr("roastery.registry.place._PAGE", page)
        assert catalog.converted() == told


def test_genuine_caffe2s_word_earns_both_aliases(catalog, make_conversion, files):
    registered = catalog.log(make_conversion(judged_by="caffe2"), files)

    assert registered.alias == "validated"
    held = catalog.client.get_registered_model(registered.name).aliases
    assert {alias: int(version) for alias, version in held.items()} == {"candidate": 1, "validated": 1}


def test_a_failed_gate_is_on_record_without_an_alias(catalog, make_conversion, files):
    registered = catalog.log(make_conversion(passed=False), files)

    assert registered.alias is None
    (version,) = versions_of(catalog, registered.name)
    assert version.tags["verdict"] == "failed"
    assert catalog.client.get_registered_model(registered.name).aliases == {}


@pytest.mark.parametrize(
    "name", ["it's", 'the "best" one', """both ' and " and ` too""", "x' OR name LIKE '%", "größe 8.5"]
)
def test_a_model_may_have_any_name(catalog, make_conversion, files, name):
    catalog.log(make_conversion(name="mask_rcnn_r50", key="0" * 64), files)

    first = catalog.log(make_conversion(name=name), files)
    second = catalog.log(make_conversion(name=name), files)

    assert (first.name, first.version, second.version) == (f"{name}.caffe2", 1, 1)


@pytest.mark.parametrize("name", ["a/b", "a:b"])
def test_a_name_that_mlflow_refuses_is_the_users_to_mend_and_leaves_no_run(catalog, make_conversion, files, name):
    with pytest.raises(RegistryRefused, match="Names cannot contain"):
        catalog.log(make_conversion(name=name), files)

    assert catalog.client.get_experiment_by_name(catalog.experiment) is None


def test_a_key_that_could_break_a_filter_is_refused(catalog, make_conversion, files):
    with pytest.raises(ValueError, match="letters, digits"):
        catalog.log(make_conversion().model_copy(update={"key": "a' OR '1' = '1"}), files)


STEPS = [
    "create_registered_model",
    "create_experiment",
    "create_run",
    "create_logged_model",
    "log_outputs",
    "log_inputs",
    "log_batch",
    "log_text",
    "log_artifact",
    "log_model_artifacts",
    "finalize_logged_model",
    "set_terminated",
    "create_model_version",
    "search_model_versions",
    "set_logged_model_tags",
    "set_registered_model_tag",
    "set_registered_model_alias",
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_fault_before_or_after_any_step_ends_in_one_right_version(
    catalog, make_conversion, files, report, monkeypatch, step, when
):
    with monkeypatch.context() as faulty:
        _fail_once(faulty, catalog.client, step, when)
        with pytest.raises(RegistryUnavailable, match="injected"):
            catalog.log(make_conversion(), files, report)

    registered = catalog.log(make_conversion(), files, report)

    (version,) = versions_of(catalog, registered.name)
    assert version.tags["verdict"] == "passed"
    assert registered.version == int(version.version) == 1
    assert registered.alias == "candidate"
    (run,) = runs_of(catalog)
    assert (run.info.run_id, run.info.status) == (version.run_id, "FINISHED")
    assert len(paths_under(catalog.client, run.info.run_id)) == 10
    history = catalog.client.get_metric_history(run.info.run_id, "original/bbox/AP")
    assert [point.value for point in history] == [62.4725]
    made = catalog.client.search_logged_models([run.info.experiment_id])
    assert sorted(model.tags["roastery.kind"] for model in made) == ["converted", "external"]
    assert {str(model.status) for model in made} == {"READY"}
    # A search leaves some of them out.
    run = catalog.client.get_run(run.info.run_id)
    assert len(run.inputs.model_inputs) == len(run.inputs.dataset_inputs) == len(run.outputs.model_outputs) == 1
    model = model_of(catalog, registered)
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": registered.name, "version": 1}]
    assert [point.value for point in model.metrics if point.key == "original/bbox/AP"] == [62.4725]


def _fail_once(monkeypatch, client, step, when):
    genuine = getattr(client, step)

    def fail(*args, **kwargs):
        if when == "after":
            genuine(*args, **kwargs)
        raise MlflowException("injected fault", error_code=TEMPORARILY_UNAVAILABLE)

    monkeypatch.setattr(client, step, fail)


def test_a_run_whose_files_could_not_be_filed_does_not_look_as_if_it_went_on(
    catalog, make_conversion, files, monkeypatch
):
    with monkeypatch.context() as faulty:
        _fail_once(faulty, catalog.client, "log_artifact", "before")
        with pytest.raises(RegistryUnavailable):
            catalog.log(make_conversion(), files)

    assert [run.info.status for run in runs_of(catalog)] == ["FAILED"]


def test_a_conversion_whose_version_was_deleted_is_filed_again_with_what_it_measured_now(
    catalog, make_conversion, files
):
    registered = catalog.log(make_conversion(), files)
    catalog.client.delete_model_version(registered.name, "1")
    slower = {"original": LatencySummary(median_ms=99.0, p90_ms=99.5, images=100)}

    again = catalog.log(make_conversion(latency=slower), files)

    # MLflow gives no number twice.
    assert (again.run_id, again.version, again.created) == (registered.run_id, 2, True)
    assert [each.alias for each in moves(catalog.client.get_registered_model(again.name))] == ["candidate"] * 2


def test_tags_that_were_lost_are_set_again(catalog, make_conversion, files):
    registered = catalog.log(make_conversion(), files)
    catalog.client.delete_model_version_tag(registered.name, "1", "verdict")

    catalog.log(make_conversion(), files)

    (version,) = versions_of(catalog, registered.name)
    assert version.tags["verdict"] == "passed"


def test_a_version_made_by_another_machine_at_the_same_time_goes(catalog, make_conversion, files, monkeypatch):
    """No lock holds between machines: the other's version is there when ours has just been created."""
    client, conversion = catalog.client, make_conversion()
    genuine = client.create_model_version

    def create_beside_another(**kwargs):
        genuine(**kwargs)
        return genuine(**kwargs)

    monkeypatch.setattr(client, "create_model_version", create_beside_another)

    registered = catalog.log(conversion, files)

    assert [int(version.version) for version in versions_of(catalog, registered.name)] == [1]
    assert registered.version == 1


def test_a_parameter_that_another_machine_logged_between_look_and_write_stays(
    catalog, make_conversion, files, monkeypatch
):
    """Two hosts have the weights at different places, and MLflow refuses to change a parameter."""
    log_batch, others = catalog.client.log_batch, []

    def log_after_another(run_id, **logged):
        if logged.get("params") and not others:
            others.append(run_id)
            catalog.client.log_param(run_id, "weights", "/srv/elsewhere/model_final.pkl")
        log_batch(run_id, **logged)

    monkeypatch.setattr(catalog.client, "log_batch", log_after_another)
    done = catalog.log(make_conversion(), files)
    assert others == [done.run_id]
    logged = catalog.client.get_run(done.run_id).data.params
    assert logged["weights"] == "/srv/elsewhere/model_final.pkl"
    assert {"model", "dataset", "judged_by", "export/batch"} <= logged.keys()


def test_a_parameter_that_mlflow_refuses_of_itself_is_the_users_to_mend(catalog, make_conversion, files, monkeypatch):
    log_batch = catalog.client.log_batch

    def refuse(run_id, **logged):
        if "params" in logged:
            raise MlflowException("too long", error_code=INVALID_PARAMETER_VALUE)
        log_batch(run_id, **logged)

    monkeypatch.setattr(catalog.client, "log_batch", refuse)
    with pytest.raises(RegistryRefused, match="too long"):
        catalog.log(make_conversion(), files)


def test_an_alias_that_another_machine_gave_to_a_later_version_at_the_same_time_is_given_back(
    catalog, make_conversion, files, monkeypatch
):
    """The other one, which does not wait for this machine's lock, is done between this one's look and its move."""
    other = Catalog(catalog.tracking_uri)
    genuine, done = catalog.client.set_registered_model_alias, []

    def late(name, alias, version):
        if not done:
            done.append(version)
            with monkeypatch.context() as unlocked:
                unlocked.setattr("roastery.registry.catalog.sole_writer", lambda *_: nullcontext())
                other.log(make_conversion(key="b2" * 32), files)
        genuine(name, alias, version)

    monkeypatch.setattr(catalog.client, "set_registered_model_alias", late)

    first = catalog.log(make_conversion(), files)

    assert (first.version, first.alias, done) == (1, None, ["1"])
    model = catalog.client.get_registered_model(first.name)
    assert {alias: int(version) for alias, version in model.aliases.items()} == {"candidate": 2}
    assert "filed at the same time elsewhere" in moves(model)[-1].reason


def test_two_processes_at_once_make_one_version(catalog, make_conversion, files, tmp_path):
    conversion_file, start = tmp_path / "conversion.json", tmp_path / "start"
    conversion_file.write_text(make_conversion().model_dump_json())
    command = [sys.executable, "-c", LOG_WHEN_STARTED, catalog.tracking_uri, str(conversion_file), str(start)]
    processes = [
        subprocess.Popen([*command, str(files["model.pb"].parent)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        while len(list(tmp_path.glob("start.ready-*"))) < 2:
            assert all(process.poll() is None for process in processes)
            time.sleep(0.01)
        start.touch()
        told = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()

    assert sorted(answer.pop("created") for answer in told) == [False, True]
    assert told[0] == told[1]
    assert len(versions_of(catalog, "mask_rcnn_r50.caffe2")) == 1
    assert len(runs_of(catalog)) == 1


def test_a_busy_database_may_pass(catalog, make_conversion, files, monkeypatch):
    def refuse(*args, **kwargs):
        raise MlflowException("database is locked", error_code=TEMPORARILY_UNAVAILABLE)

    monkeypatch.setattr(catalog.client, "search_model_versions", refuse)

    with pytest.raises(RegistryUnavailable, match="database is locked"):
        catalog.log(make_conversion(), files)


def test_what_mlflow_refuses_is_the_users_to_mend_in_one_line(catalog, make_conversion, files, monkeypatch):
    def refuse(*args, **kwargs):
        raise MlflowException("no such thing\nsecond line", error_code=INVALID_PARAMETER_VALUE)

    monkeypatch.setattr(catalog.client, "create_run", refuse)

    with pytest.raises(RegistryRefused) as caught:
        catalog.log(make_conversion(), files)
    assert str(caught.value) == f"{catalog.tracking_uri}: no such thing"


def test_an_address_that_mlflow_does_not_know_is_the_users_to_mend(make_conversion, files):
    with pytest.raises(RegistryRefused, match="gopher://nowhere"):
        Catalog("gopher://nowhere").log(make_conversion(), files)


def test_a_server_that_is_not_there_may_come(make_conversion, files, free_port, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    with pytest.raises(RegistryUnavailable, match=str(free_port)):
        Catalog(f"http://127.0.0.1:{free_port}").log(make_conversion(), files)


def test_a_deleted_experiment_is_named(catalog, make_conversion, files):
    client = catalog.client
    client.delete_experiment(client.create_experiment(catalog.experiment))

    with pytest.raises(RegistryRefused, match="experiment 'roastery' is deleted; restore it"):
        catalog.log(make_conversion(), files)


def test_importing_the_room_does_not_import_mlflow():
    code = "import sys, roastery.registry.catalog; sys.exit('mlflow' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_telemetry_is_off_before_mlflow_is_imported(tmp_path):
    code = (
        f"from roastery.registry.catalog import Catalog; Catalog('sqlite:///{tmp_path}/mlflow.db').client;"
        "from mlflow.telemetry.utils import is_telemetry_disabled; raise SystemExit(not is_telemetry_disabled())"
    )
    # Nothing that says so already: neither our own variables, nor those of pytest or a CI, in which MLflow is silent.
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}

    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment, cwd=ROOT).returncode == 0


def test_the_address_of_a_run_on_a_server_holds_no_password(make_conversion):
    from mlflow.entities import Run, RunData, RunInfo

    info = RunInfo("f00", "3", "someone", "FINISHED", 0, 1, "active", "mlflow-artifacts:/3/f00")
    catalog = Catalog("https://me:secret@mlflow.example:8443/team/")

    assert catalog.url(Run(info, RunData())) == "https://mlflow.example:8443/team/#/experiments/3/runs/f00"
