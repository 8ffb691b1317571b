"""A team's installation: the servers on one host, the hub, and workers on others that share nothing but the network.

On the hub: PostgreSQL, which Prefect's and MLflow's records lie in; an S3 API, which has the store and MLflow's
artifacts; Prefect's server, MLflow's server, and the worker of the fleets. Each worker's host has configs, weights,
images, home and cache of its own.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import yaml
from clocks import Clock
from network import Network
from postgres_server import PostgresServer
from prefect_api import PATIENCE_SECONDS, Asked, deploy
from processes import running_module, runs
from s3_server import CREDENTIALS, S3Gate

MODELS, FLEETS = "roastery-models", "roastery-fleets"
BUCKET = "detectors"


class Hosts(Asked):
    """The installation. Nothing runs before `start`.

    Args:
        folder: an empty one; each host has one of its own in it.
        configs: of one model, `boxes`, and its dataset.
        postgres: a server that runs.
        gate: of an S3 API that the hub serves.
        names: of the hosts of workers.
    """

    patience = 400.0

    def __init__(
        self,
        folder: Path,
        configs: Path,
        network: Network,
        postgres: PostgresServer,
        gate: S3Gate,
        ports: tuple[int, int],
        names: tuple[str, ...],
    ) -> None:
        self.folder, self.network, self.postgres, self.gate, self.names = folder, network, postgres, gate, names
        self.hub = network.hub
        logs = folder / "logs"
        logs.mkdir()
        super().__init__(f"http://{self.hub}:{ports[0]}", logs)
        self.mlflow = f"http://{self.hub}:{ports[1]}"
        self._ports = ports
        self.store = f"s3://{BUCKET}/roastery"
        self._databases = {name: postgres.create(name) for name in ("prefect", "mlflow")}
        self._processes: dict[str, psutil.Popen] = {}
        for name in ("hub", *names):
            self._furnish(name, configs)
            if name != "hub":
                network.add(name)

    def _furnish(self, host: str, configs: Path) -> None:
        """A host's own copies of what it reads, below its own folder."""
        there = self.folder / host
        for source in sorted(configs.rglob("*.yaml")):
            target = there / "configs" / source.relative_to(configs)
            target.parent.mkdir(parents=True, exist_ok=True)
            content = yaml.safe_load(source.read_text())
            for key in ("config", "weights", "images", "annotations"):
                if key in content:
                    copied = there / "files" / target.stem / Path(content[key]).name
                    copied.parent.mkdir(parents=True, exist_ok=True)
                    copy = shutil.copytree if Path(content[key]).is_dir() else shutil.copy
                    if not copied.exists():
                        copy(content[key], copied)
                    content[key] = str(copied)
            target.write_text(yaml.safe_dump(content))
        pipeline = there / "configs" / "pipeline.yaml"
        places = {"store": self.store, "tracking_uri": self.mlflow}
        pipeline.write_text(yaml.safe_dump(yaml.safe_load(pipeline.read_text()) | places))

    def register(self, name: str, **changes: Any) -> None:
        """One more model on every host, as `boxes` but for these keys."""
        for host in ("hub", *self.names):
            models = self.folder / host / "configs" / "models"
            spec = yaml.safe_load((models / "boxes.yaml").read_text()) | {"name": name, **changes}
            (models / f"{name}.yaml").write_text(yaml.safe_dump(spec))

    def configure(self, **pipeline: Any) -> None:
        """Keys of pipeline.yaml on every host, from now on."""
        for host in ("hub", *self.names):
            file = self.folder / host / "configs" / "pipeline.yaml"
            file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | pipeline))

    def environment(self, host: str) -> dict[str, str]:
        """What a program on that host has of the installation."""
        there = self.folder / host
        return os.environ | {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self.gate.endpoint,
            # MLflow's client of S3 has a variable of its own.
            "MLFLOW_S3_ENDPOINT_URL": self.gate.endpoint,
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(there / "prefect"),
            "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
            "ROASTERY_CONFIGS": str(there / "configs"),
            "XDG_CACHE_HOME": str(there / "cache"),
            "TMPDIR": str(self._made(there / "tmp")),
            "COLUMNS": "200",
        }

    @staticmethod
    def _made(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def start(self) -> None:
        """The servers, what `deployments/` says, and the workers."""
        with urllib.request.urlopen(urllib.request.Request(f"{self.gate.endpoint}/{BUCKET}", method="PUT")):
            pass
        self.start_mlflow()
        self.start_prefect()
        deploy(self.run)
        self.start_worker("hub", FLEETS)
        for name in self.names:
            self.start_worker(name, MODELS)
        # Of a run that comes before a worker has said that it is there, the other has taken all.
        self.await_that(lambda: self._online(FLEETS) == 1 and self._online(MODELS) == len(self.names))

    def _online(self, pool: str) -> int:
        """How many workers of a pool the server takes for present."""
        workers = self.ask(f"/work_pools/{pool}/workers/filter", {})
        return [worker["status"] for worker in workers].count("ONLINE")

    def start_prefect(self) -> None:
        """Its server, on PostgreSQL; waits until it answers."""
        database = f"postgresql+asyncpg:{self._databases['prefect']}"
        command = ("prefect", "server", "start", "--host", self.hub, "--port", str(self._ports[0]))
        self._start("prefect", "hub", *command, PREFECT_SERVER_DATABASE_CONNECTION_URL=database)
        self._await(f"{self.api}/health")

    def start_mlflow(self) -> None:
        """Its server, on PostgreSQL and S3; waits until it answers."""
        command = ["mlflow", "server", "--host", self.hub, "--port", str(self._ports[1]), "--workers", "2"]
        command += ["--backend-store-uri", f"postgresql:{self._databases['mlflow']}"]
        command += ["--artifacts-destination", f"s3://{BUCKET}/mlflow", "--allowed-hosts", "*"]
        self._start("mlflow", "hub", *command)
        self._await(f"{self.mlflow}/health")

    def start_worker(self, host: str, pool: str, **environment: str) -> None:
        command = ("prefect", "worker", "start", "--pool", pool, "--limit", "1")
        self._start(f"{host}-worker", host, *command, **environment)

    @contextmanager
    def clocks(self) -> Iterator[dict[str, Clock]]:
        """The clocks of the hosts, by name, which can be set in the block: that of the day alone, as a machine's is."""
        clocks = {name: Clock(Path(tempfile.mkdtemp(dir=self.folder / name)) / "clock") for name in self.names}
        self._restart_workers({name: clock.environment for name, clock in clocks.items()})
        try:
            yield clocks
        finally:
            self._restart_workers({name: {} for name in clocks})

    def _restart_workers(self, environments: Mapping[str, dict[str, str]]) -> None:
        for name, environment in environments.items():
            self.kill(f"{name}-worker")
            self.start_worker(name, MODELS, **environment)

    def _start(self, name: str, host: str, *command: str, **environment: str) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            self._processes[name] = psutil.Popen(
                self._line(host, command),
                cwd=self.folder / host,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(host) | environment,
                start_new_session=True,
            )

    def run(self, *command: str) -> str:
        """Run a program on the hub to its good end; gives what it said."""
        done = self.run_on("hub", *command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run_on(self, host: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a program on a host to its end."""
        return subprocess.run(
            self._line(host, command),
            cwd=self.folder / host,
            check=False,
            capture_output=True,
            text=True,
            env=self.environment(host),
        )

    def _line(self, host: str, command: Sequence[str]) -> list[str]:
        line = [sys.executable, "-P", "-m", *command]
        return line if host == "hub" else self.network.command(host, line)

    def tree(self, name: str) -> list[psutil.Process]:
        """A program of the installation and all that it has started, as far as they run."""
        process = self._processes[name]
        try:
            return [each for each in (process, *process.children(recursive=True)) if runs(each)]
        except psutil.NoSuchProcess:
            return []

    def kill(self, name: str) -> None:
        """SIGKILL to a program of the installation and to all that it has started: as a host that loses its power."""
        for process in self.tree(name):
            process.send_signal(signal.SIGKILL)
        self._processes[name].wait()

    def is_at_work(self, host: str) -> bool:
        """Whether a stage is done on that host."""
        return running_module(self.tree(f"{host}-worker"), "roastery.stages.worker") is not None

    def close(self) -> None:
        for name in self._processes:
            self.kill(name)

    def _await(self, address: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with urllib.request.urlopen(address, timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < deadline, self.said()
                time.sleep(0.1)

    # What it left.

    def client(self) -> Any:
        """MLflow's client."""
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.mlflow, registry_uri=self.mlflow)

    @cached_property
    def files(self) -> Any:
        """The S3 API, as s3fs has it."""
        from s3fs import S3FileSystem

        keys = {"key": CREDENTIALS["AWS_ACCESS_KEY_ID"], "secret": CREDENTIALS["AWS_SECRET_ACCESS_KEY"]}
        client = {"endpoint_url": self.gate.endpoint, "region_name": CREDENTIALS["AWS_DEFAULT_REGION"]}
        return S3FileSystem(**keys, client_kwargs=client, skip_instance_cache=True, use_listings_cache=False)

    def keys(self, below: str) -> list[str]:
        """Of the objects of the store below a prefix."""
        return [str(path).removeprefix(f"{BUCKET}/roastery/") for path in self.files.find(f"{BUCKET}/roastery/{below}")]

    def versions(self, name: str) -> list[Any]:
        """Of a model in the registry."""
        return list(self.client().search_model_versions(f"name = '{name}'"))
