"""Against a server that really runs, as a team has one: what a SQLite file cannot show."""

import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from roastery.registry.catalog import Catalog
from roastery.registry.filed import download

STARTS_WITHIN_SECONDS = 120


@pytest.fixture
def server(empty_database, tmp_path, free_port):
    """The address of a started `mlflow server` with a database and artifacts of its own."""
    database = tmp_path / "server.db"
    database.write_bytes(empty_database.read_bytes())
    address = f"http://127.0.0.1:{free_port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(free_port)]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(tmp_path / "kept")]
    log = (tmp_path / "server.log").open("wb")
    process = subprocess.Popen([*command, "--workers", "1"], stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path)
    try:
        _await(address, process, tmp_path / "server.log")
        yield address
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _await(address, process, log):
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    pytest.fail(f"no server after {STARTS_WITHIN_SECONDS} s: {log.read_text()}")


def test_a_conversion_is_found_through_a_running_server(server, make_conversion, files, report, tmp_path):
    conversion = make_conversion(name="it's 8.5", judged_by="caffe2")

    first = Catalog(server).log(conversion, files, report)
    second = Catalog(server).log(conversion, files, report)

    assert (first.version, first.created, first.alias) == (1, True, "validated")
    assert second == first.model_copy(update={"created": False})
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=server, registry_uri=server)
    version = client.get_model_version_by_alias("it's 8.5.caffe2", "validated")
    run = client.get_run(version.run_id)
    assert first.run_url == f"{server}/#/experiments/{run.info.experiment_id}/runs/{version.run_id}"
    filed = {item.path for item in client.list_artifacts(version.run_id, "report")}
    assert {"report/report.md", "report/report.html", "report/config.yaml", "report/report-curves-bbox.svg"} <= filed
    assert (int(version.version), version.tags["roastery.key"]) == (1, conversion.key)
    assert client.get_run(version.run_id).data.metrics["caffe2/bbox/AP"] == 62.46
    folder = download(Catalog(server), version, tmp_path)
    assert (folder / "model_init.pb").read_bytes() == files["model_init.pb"].read_bytes()
    assert len(client.search_model_versions()) == 1
