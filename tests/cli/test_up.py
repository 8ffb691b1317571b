"""`roastery up`: two servers and the deployments, really started, with a user and a password, and ended."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(300)]

USER, PASSWORD = "team", "planted-password"
PATIENCE_SECONDS = 120.0


class Up:
    """A running `roastery up`."""

    def __init__(self, folder: Path, configs: Path, free_port: Callable[[], int], *options: str) -> None:
        self.home = folder / "home"
        self.prefect, self.mlflow = (f"http://127.0.0.1:{port}" for port in (free_port(), free_port()))
        ports = [each.rpartition(":")[2] for each in (self.prefect, self.mlflow)]
        command = ["up", "--home", str(self.home), "--configs", str(configs), *options]
        self._said = (folder / "said.txt").open("w+b")
        command += ["--prefect-port", ports[0], "--mlflow-port", ports[1]]
        self.process = subprocess.Popen(
            # As a terminal starts it: what runs these tests in the background may have them ignore Ctrl-C.
            ["env", "--default-signal=INT", sys.executable, "-m", "cli.main", *command],
            stdout=self._said,
            stderr=subprocess.STDOUT,
            env=self._environment() | {"ROASTERY_AUTH": f"{USER}:{PASSWORD}", "COLUMNS": "200"},
            start_new_session=True,
        )
        self.seen: set[psutil.Process] = set()

    @staticmethod
    def _environment() -> dict[str, str]:
        """Without what tests say to every MLflow server: it has to say so itself."""
        return {name: value for name, value in os.environ.items() if name != "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"}

    @property
    def said(self) -> str:
        self._said.seek(0)
        return self._said.read().decode()

    def await_said(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)
        self.look()

    def look(self) -> set[psutil.Process]:
        """All that it has started, as far as anybody looked."""
        self.seen |= set(psutil.Process(self.process.pid).children(recursive=True))
        return self.seen

    def end(self, number: signal.Signals) -> int:
        """Send a signal to the command alone, and wait until it, and all that it started, are over."""
        self.look()
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        self.await_silence()
        return code

    def await_silence(self) -> None:
        deadline = time.monotonic() + 30
        while running := [process for process in self.seen if runs(process)]:
            assert time.monotonic() < deadline, f"left behind: {[process.cmdline() for process in running]}"
            time.sleep(0.05)

    def close(self) -> None:
        for process in [*self.seen, psutil.Process(self.process.pid)] if self.process.poll() is None else self.seen:
            if runs(process):
                process.kill()
        self.process.wait()
        self._said.close()


def runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def ask(address: str, content: Any = None, user: str | None = None, password: str = "") -> Any:
    """The answer, or the code of what was refused."""
    headers = {"Content-Type": "application/json"}
    if user is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    body = None if content is None else json.dumps(content).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code


@pytest.fixture(scope="module")
def start(
    configs: Path, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Up]]:
    """`start(*options)` starts one in a folder of its own."""
    started: list[Up] = []

    def start_one(*options: str) -> Up:
        started.append(Up(tmp_path_factory.mktemp("up"), configs, free_port, *options))
        return started[-1]

    yield start_one
    for each in started:
        each.close()


@pytest.fixture(scope="module")
def guarded(configs: Path, start: Callable[..., Up], tmp_path_factory: pytest.TempPathFactory) -> Up:
    """One that asks for a user and a password."""
    own = tmp_path_factory.mktemp("guarded") / "configs"
    own.mkdir()
    for name in ("models", "datasets"):
        (own / name).symlink_to(configs / name)
    pipeline = yaml.safe_load((configs / "pipeline.yaml").read_text())
    (own / "pipeline.yaml").write_text(yaml.safe_dump(pipeline | {"store": str(own.parent / "store")}))
    made = start("--configs", str(own), "--auth", "--processes", "1")
    made.await_said("Ctrl-C ends it")
    return made


def test_it_says_where_the_servers_are_and_both_show_their_pages(guarded: Up) -> None:
    assert guarded.said.splitlines() == [
        f"Prefect  {guarded.prefect}",
        f"MLflow   {guarded.mlflow}",
        f"kept in  {guarded.home}",
        "Ctrl-C ends it",
    ]
    with urllib.request.urlopen(guarded.prefect) as page:
        assert b"<title>Prefect Server</title>" in page.read()


def test_mlflow_has_no_processes_for_jobs_of_other_kinds(guarded: Up) -> None:
    commands = [" ".join(process.cmdline()) for process in guarded.look() if runs(process)]
    assert [command for command in commands if "mlflow.server" in command]
    assert not [command for command in commands if "mlflow.server.jobs" in command]


def test_nothing_listens_but_on_loopback(guarded: Up) -> None:
    listening = [
        connection.laddr
        for process in guarded.look()
        if runs(process)
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {f"http://127.0.0.1:{address.port}" for address in listening} >= {guarded.prefect, guarded.mlflow}
    assert {address.ip for address in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("user", "password", "refused"),
    [(None, "", True), (USER, "another-password", True), ("admin", PASSWORD, True), (USER, PASSWORD, False)],
)
def test_both_servers_ask_for_the_user_and_the_password(
    guarded: Up, user: str | None, password: str, refused: bool
) -> None:
    flows = ask(f"{guarded.prefect}/api/flows/filter", {}, user, password)
    experiments = ask(f"{guarded.mlflow}/api/2.0/mlflow/experiments/search?max_results=5", None, user, password)
    if refused:
        assert (flows, experiments) == (401, 401)
    else:
        assert {flow["name"] for flow in flows} >= {"convert_model", "convert_fleet"}
        assert experiments["experiments"]


def test_a_run_has_the_right_credentials_for_both_and_they_are_told_nowhere(guarded: Up) -> None:
    api = f"{guarded.prefect}/api"
    deployment = ask(f"{api}/deployments/name/convert_model/convert-model", None, USER, PASSWORD)
    asked = {"parameters": {"model": "boxes"}, "state": {"type": "SCHEDULED"}}
    run = ask(f"{api}/deployments/{deployment['id']}/create_flow_run", asked, USER, PASSWORD)["id"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (over := ask(f"{api}/flow_runs/{run}", None, USER, PASSWORD))["state"]["type"] not in ("COMPLETED", "FAILED"):
        assert time.monotonic() < deadline, over
        guarded.look()
        time.sleep(0.5)
    assert (over["state"]["type"], over["state"]["message"]) == ("COMPLETED", "version 1 of boxes.caffe2")
    found = ask(f"{guarded.mlflow}/api/2.0/mlflow/registered-models/get?name=boxes.caffe2", None, USER, PASSWORD)
    assert found["registered_model"]["latest_versions"][0]["version"] == "1"
    planted = PASSWORD.encode()
    files = [path for path in guarded.home.parent.rglob("*") if path.is_file()]
    assert any(path.name == "deployments.log" for path in files)
    assert [path for path in files if planted in path.read_bytes()] == []
    assert not any(PASSWORD in word for process in guarded.look() if runs(process) for word in process.cmdline())
    assert PASSWORD not in guarded.said


def test_ctrl_c_ends_all_of_it_well(guarded: Up) -> None:
    """The last of the tests of this one."""
    assert guarded.end(signal.SIGINT) == 0
    assert guarded.said.splitlines()[-1] == "ending; Ctrl-C again ends it at once"
    for log in ("prefect", "mlflow", "deployments"):
        assert "Traceback" not in (guarded.home / "logs" / f"{log}.log").read_text()


def test_the_password_may_change_and_the_old_one_is_refused(tmp_path: Path) -> None:
    from cli.credentials import Credentials
    from cli.servers import Place, mlflow_service

    first = mlflow_service(Place(tmp_path, "127.0.0.1", 1, 2), Credentials("a", "first-password"))
    (tmp_path / "mlflow-users.db").write_text("what MLflow made of the first password")
    second = mlflow_service(Place(tmp_path, "127.0.0.1", 1, 2), Credentials("a", "second-password"))
    assert not (tmp_path / "mlflow-users.db").exists(), "MLflow takes a password only for a database that it makes"
    assert second.environment["MLFLOW_AUTH_ADMIN_PASSWORD"] == "second-password"
    assert first.environment["MLFLOW_FLASK_SERVER_SECRET_KEY"] != second.environment["MLFLOW_FLASK_SERVER_SECRET_KEY"]
    told = (*first.command, *second.command, (tmp_path / "mlflow-auth.ini").read_text())
    assert not any("t-password" in text or "d-password" in text for text in told)


def test_a_host_of_colons_is_told_in_brackets(tmp_path: Path) -> None:
    from cli.servers import Place

    place = Place(tmp_path, "::1", 4200, 5000)
    assert (place.prefect, place.mlflow) == ("http://[::1]:4200", "http://[::1]:5000")


def test_where_one_of_them_dies_all_end_and_it_is_named_and_a_killed_command_leaves_nothing(
    start: Callable[..., Up],
) -> None:
    up, other = start(), start()
    for each in (up, other):
        each.await_said("Ctrl-C ends it")
    (server,) = (process for process in up.look() if runs(process) and process.cmdline()[3:5] == ["server", "start"])
    server.kill()
    assert up.process.wait(PATIENCE_SECONDS) == 1
    up.await_silence()
    assert re.search(r"^roastery: the Prefect server ended; see .*/logs/prefect\.log: ", up.said, re.MULTILINE)
    other.end(signal.SIGKILL)


def refused(*arguments: str, configs: Path) -> str:
    done = CliRunner().invoke(app, ["up", "--configs", str(configs), *arguments])
    assert done.exit_code == 2
    (line,) = done.stderr.strip().splitlines()
    return line


def test_a_port_that_is_taken_is_one_line(configs: Path, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option in ("--prefect-port", "--mlflow-port"):
            said = refused("--home", str(tmp_path / "home"), option, port, configs=configs)
            assert said == f"roastery: 127.0.0.1:{port}: Address already in use; name another port by {option}"
    assert not (tmp_path / "home").exists()


def test_others_may_reach_it_only_with_a_password(configs: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com"):
        said = refused("--host", host, configs=configs)
        assert said == (
            f"roastery: --host {host}: others would reach it without a password; add --auth, or leave it out"
        )


@pytest.mark.parametrize("said", ["", "team", "team:", ":planted-password", "team:planted", "team:planted-\tpassword"])
def test_credentials_that_are_none_are_one_line_that_does_not_tell_them(
    configs: Path, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROASTERY_AUTH", said)
    line = refused("--auth", configs=configs)
    assert line.startswith("roastery: ROASTERY_AUTH: ")
    assert "planted" not in line


def test_configs_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    assert "models: no such folder; say where the models are registered" in refused(configs=tmp_path)
