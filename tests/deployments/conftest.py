"""An installation as `prefect.yaml` describes it: a Prefect server, work pools, deployments, and a worker a pool."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from hosts import Hosts
from network import Network
from postgres_server import PostgresServer
from prefect_api import PATIENCE_SECONDS, Asked, deploy
from processes import running_module, runs
from s3_server import serving_s3

SCREENSHOTS = os.environ.get("ROASTERY_SCREENSHOTS")
PLANTED = {"MLFLOW_TRACKING_PASSWORD": "planted-in-environment", "PGPASSWORD": "planted-in-block"}
BLOCK = "roastery-postgres"


class Installation(Asked):
    """It as its users see it: by the server's API, and by what runs on the machine."""

    def __init__(self, folder: Path, configs: Path, port: int) -> None:
        super().__init__(f"http://127.0.0.1:{port}", folder)
        self.folder = folder
        self.configs = folder / "configs"
        shutil.copytree(configs, self.configs)
        pipeline = yaml.safe_load((self.configs / "pipeline.yaml").read_text())
        self.store = folder / "store"
        pipeline |= {"store": str(self.store), "tracking_uri": f"sqlite:///{folder}/mlflow.db"}
        pipeline["secrets"] = {"PGPASSWORD": BLOCK}
        (self.configs / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
        self._environment = os.environ | {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.api,
            "ROASTERY_CONFIGS": str(self.configs),
            # As a person in the terminal sees it.
            "COLUMNS": "200",
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def register(self, name: str, **changes: Any) -> None:
        """One more model, as `boxes` but for these keys."""
        spec = yaml.safe_load((self.configs / "models" / "boxes.yaml").read_text()) | {"name": name, **changes}
        (self.configs / "models" / f"{name}.yaml").write_text(yaml.safe_dump(spec))

    @contextmanager
    def configured(self, **pipeline: Any) -> Iterator[None]:
        """Keys of pipeline.yaml, for the runs that begin in the block."""
        file = self.configs / "pipeline.yaml"
        before = file.read_text()
        file.write_text(yaml.safe_dump(yaml.safe_load(before) | pipeline))
        try:
            yield
        finally:
            file.write_text(before)

    def start(self, name: str, *command: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Start a program of the installation. What it says is in `<name>.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", *command],
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment | environment,
                start_new_session=True,
            )
        self._processes[name] = process
        return process

    def run(self, *command: str) -> str:
        """Run a program to its good end; gives what it said."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", *command],
            cwd=self.folder,
            check=False,
            capture_output=True,
            text=True,
            env=self._environment,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pid(self, name: str) -> int:
        """Of a program of the installation."""
        return self._processes[name].pid

    def children(self, name: str) -> list[psutil.Process]:
        """All that a program of the installation has started, and runs."""
        return [each for each in psutil.Process(self._processes[name].pid).children(recursive=True) if runs(each)]

    def process_of(self, name: str, module: str) -> psutil.Process | None:
        """A process of that Python module that a program of the installation started."""
        return running_module(self.children(name), module)

    def close(self) -> None:
        for process in self._processes.values():
            try:
                tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            for each in tree:
                if runs(each):
                    each.kill()
            process.wait()


class Up(Asked):
    """What `roastery up` started: a Prefect server, an MLflow server, and the deployments, served."""

    def __init__(self, folder: Path, configs: Path, ports: tuple[int, int]) -> None:
        self.folder = folder
        self.prefect, self.mlflow = (f"http://127.0.0.1:{port}" for port in ports)
        super().__init__(self.prefect, folder / "home" / "logs")
        self.configs = folder / "configs"
        shutil.copytree(configs, self.configs)
        # As a person in the terminal sees it.
        environment = os.environ | {"ROASTERY_STORE": str(folder / "store"), "COLUMNS": "200"}
        command = ["up", "--home", str(folder / "home"), "--configs", str(self.configs)]
        command += ["--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1])]
        self._said = folder / "said.txt"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", *command],
                stdout=said,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        # Of what is run beside it.
        self.environment = environment | {
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(folder / "prefect"),
            "ROASTERY_TRACKING_URI": self.mlflow,
        }

    def await_start(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "Ctrl-C ends it" not in self._said.read_text():
            assert self._process.poll() is None, self._said.read_text()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def run(self, *command: str) -> str:
        """Run a command of Roastery to its good end; gives what it said."""
        return self.python("-m", "cli.main", *command)

    def python(self, *arguments: str) -> str:
        """Run Python to its good end; gives what it said."""
        done = subprocess.run(
            [sys.executable, *arguments], check=False, capture_output=True, text=True, env=self.environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def client(self) -> Any:
        """MLflow's client."""
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.mlflow, registry_uri=self.mlflow)

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            for process in psutil.Process(self._process.pid).children(recursive=True):
                process.kill()
            self._process.kill()
            raise


@pytest.fixture(scope="session")
def installation(
    configs: Path, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """A server, what `deployments/` says, and a worker for each pool."""
    port = free_port()
    made = Installation(tmp_path_factory.mktemp("installation"), configs, port)
    try:
        made.start("server", "prefect", "server", "start", "--port", str(port))
        made.await_that(lambda: _answers(made))
        deploy(made.run)
        block = "from prefect.blocks.system import Secret; import sys; Secret(value=sys.argv[1]).save(sys.argv[2])"
        subprocess.run([sys.executable, "-c", block, PLANTED["PGPASSWORD"], BLOCK], check=True, env=made._environment)
        planted = {"MLFLOW_TRACKING_PASSWORD": PLANTED["MLFLOW_TRACKING_PASSWORD"]}
        for pool in ("roastery-fleets", "roastery-models"):
            made.start(pool, "prefect", "worker", "start", "--pool", pool, **planted)
        yield made
    finally:
        made.close()


def _answers(made: Installation) -> bool:
    try:
        return bool(made.ask("/health"))
    except urllib.error.URLError:
        return False


@pytest.fixture(scope="session")
def hosts(configs: Path, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Servers on a hub, and two hosts with a worker each, `east` and `west`, in networks of their own."""
    with ExitStack() as stack:
        postgres = PostgresServer()
        stack.callback(postgres.close)
        postgres.start()
        network = Network()
        stack.callback(network.close)
        gate = stack.enter_context(serving_s3(network.hub))
        folder = tmp_path_factory.mktemp("hosts")
        made = Hosts(folder, configs, network, postgres, gate, (free_port(), free_port()), ("east", "west"))
        stack.callback(made.close)
        made.start()
        yield made


@pytest.fixture(scope="session")
def up(configs: Path, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """`roastery up`, with two models: `boxes`, and `broken`, whose weights are not there."""
    made = Up(tmp_path_factory.mktemp("up"), configs, (free_port(), free_port()))
    try:
        broken = yaml.safe_load((made.configs / "models" / "boxes.yaml").read_text())
        broken |= {"name": "broken", "weights": "/srv/models/broken.pkl"}
        (made.configs / "models" / "broken.yaml").write_text(yaml.safe_dump(broken))
        made.await_start()
        yield made
    finally:
        made.close()


# A module's own: while it is there, an event loop runs in this thread, and other tests start theirs.
@pytest.fixture(scope="module")
def browse(up: Up) -> Iterator[Callable[[str], Any]]:
    """`browse(address)`: a page of a browser that asks nobody but that server."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])

        def open_page(address: str) -> Any:
            context = browser.new_context(viewport={"width": 1280, "height": 1000})
            context.route(lambda asked: not asked.startswith(address), lambda route: route.abort())
            page = context.new_page()
            page.set_default_timeout(30_000)
            return page

        yield open_page
        browser.close()


@pytest.fixture(scope="session")
def picture() -> Callable[[Any, str], None]:
    """`picture(page, name)`: leaves a picture of the docs, where `ROASTERY_SCREENSHOTS` says."""

    def take(page: Any, name: str) -> None:
        if SCREENSHOTS:
            page.screenshot(path=f"{SCREENSHOTS}/{name}.png")

    return take
