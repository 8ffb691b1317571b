"""An installation on this machine whose conversions are simulated, and what its fleets cost: for scale.py."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from few_images import ROOT, configure
from postgres_server import PostgresServer
from simulated_stages import RECORDED

MODELS, FLEETS = "roastery-models", "roastery-fleets"
DEPLOYMENTS = ROOT / "deployments" / "prefect.yaml"
FLEET = "convert_fleet/convert-fleet"
_FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_POLL_SECONDS = 2.0
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
_REQUEST = re.compile(r'"(GET|POST|PUT|PATCH|DELETE) (/\S*?)(?:\?\S*)? HTTP')


@dataclass
class Measured:
    """A fleet, and what it left behind. Sums are of the whole fleet."""

    models: int
    """In the registry, when it is over."""
    runs: int
    """Models that were not found unchanged."""
    seconds: float
    found_seconds: float
    """From where the fleet was asked for to where its last run was made known to Prefect's server."""
    cpu_seconds: dict[str, float]
    peak_mb: dict[str, float]
    """The most memory (PSS) of each program and of what it started, by program."""
    requests: int
    """To Prefect's server."""
    database_bytes: dict[str, int]
    rows: dict[str, dict[str, int]]
    """Rows that were added, by database and table."""
    store_files: int
    store_bytes: int
    most_asked: dict[str, int]


class Installation:
    """Servers and workers on this machine, started one by one; they end with the block.

    Args:
        folder: an empty one, for all that it keeps.
    """

    def __init__(self, folder: Path, postgres: PostgresServer) -> None:
        self.folder = folder
        self._registered = 0
        self._postgres = postgres
        self._ports = free_port(), free_port()
        self.prefect, self.mlflow = (f"http://127.0.0.1:{port}" for port in self._ports)
        self.api = f"{self.prefect}/api"
        self._databases = {name: postgres.create(name) for name in ("prefect", "mlflow")}
        self.programs: dict[str, psutil.Popen] = {}
        self.configs = folder / "configs"
        self.environment = os.environ | {
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "1",
            "ROASTERY_CONFIGS": str(self.configs),
            "XDG_CACHE_HOME": str(folder / "cache"),
            RECORDED: str(folder / "recorded"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")]),
        }

    def start(self, workers: int, limit: int, query: float, forked: bool) -> None:
        """Both servers, what `deployments/` says, one recorded conversion, and the workers."""
        places = {"store": str(self.folder / "store"), "tracking_uri": self.mlflow}
        configure(self.folder, 1, **places)
        database = f"postgresql+asyncpg:{self._databases['prefect']}"
        server = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self._ports[0])]
        # With a line for each request.
        server += ["--log-level", "INFO"]
        self._start("prefect", *server, PREFECT_SERVER_DATABASE_CONNECTION_URL=database)
        server = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(self._ports[1]), "--workers", "2"]
        server += ["--backend-store-uri", f"postgresql:{self._databases['mlflow']}"]
        server += ["--artifacts-destination", str(self.folder / "mlflow")]
        # As `roastery up` has it, and the docs: its processes for jobs of other kinds hold 2 GiB.
        self._start("mlflow", *server, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
        self._await(f"{self.api}/health")
        self._await(f"{self.mlflow}/health")
        (model,) = (path.stem for path in (self.configs / "models").glob("*.yaml"))
        self._run("simulated_stages", "record", str(self.configs), model)
        self._run("deployments.install")
        deployed = yaml.safe_load(DEPLOYMENTS.read_text())
        (convert_model,) = (each for each in deployed["deployments"] if each["name"] == "convert-model")
        convert_model["entrypoint"] = "simulated_stages.convert_model"
        if forked:
            address = self.folder / "forks"
            program = [sys.executable, "-S", str(ROOT / "benchmarks" / "forked_engine.py"), str(address)]
            convert_model["work_pool"]["job_variables"]["command"] = shlex.join(program)
            self._start("runs", "forked_engine", "serve", str(address))
        simulated = self.folder / "prefect.yaml"
        simulated.write_text(yaml.safe_dump(deployed))
        self._run("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(simulated))
        self._run("prefect", "work-pool", "set-concurrency-limit", MODELS, str(workers * limit))
        self._start("fleets", "prefect", "worker", "start", "--pool", FLEETS)
        for number in range(1, workers + 1):
            command = ("prefect", "worker", "start", "--pool", MODELS, "--limit", str(limit))
            self._start(f"worker {number}", *command, PREFECT_WORKER_QUERY_SECONDS=str(query))
        while self._online() < workers:
            time.sleep(_POLL_SECONDS)

    def _online(self) -> int:
        """How many workers of models the server takes for present."""
        workers = self.ask(f"/work_pools/{MODELS}/workers/filter", {})
        return [worker["status"] for worker in workers].count("ONLINE")

    def register(self, models: int) -> None:
        """Models until there are so many, each with artifacts of its own."""
        for number in range(self._registered, models):
            self.change(number, 0.05 + 1e-5 * number)
        self._registered = models

    def file(self, models: int) -> None:
        """Have so many models in the registry, converted and filed without a fleet."""
        self.register(models)
        self._run("simulated_stages", "file", str(self.configs))

    def change(self, number: int, threshold: float) -> None:
        """Register a model with that threshold, whatever it was before."""
        name = f"model_{number:05}"
        (recorded,) = (path for path in (self.configs / "models").glob("*.yaml") if "_rcnn" in path.stem)
        spec = yaml.safe_load(recorded.read_text()) | {"name": name}
        spec["overrides"] = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", f"{threshold:.7f}"]
        (self.configs / "models" / f"{name}.yaml").write_text(yaml.safe_dump(spec))

    def measure(self, only: str) -> Measured:
        """Run a fleet of all models to its end."""
        rows, sizes, files = self._rows(), self._sizes(), self._stored()
        asked, spent = self._requests(), self._spent()
        with peaks(self.programs) as peak_mb:
            parameters = {"models": ["model_*"], "only": only, "where": "workers"}
            content = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
            deployment = self.ask(f"/deployments/name/{FLEET}")["id"]
            started = time.time()
            run = self.ask(f"/deployments/{deployment}/create_flow_run", content)["id"]
            while (ended := self.ask(f"/flow_runs/{run}"))["state"]["type"] not in _FINAL:
                time.sleep(_POLL_SECONDS)
            seconds = time.time() - started
        if ended["state"]["type"] != "COMPLETED":
            failed = self.ask("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["FAILED", "CRASHED"]}}}})
            raise SystemExit("\n".join(f"{run['name']}: {run['state']['message']}" for run in failed))
        # Events are written a little later.
        time.sleep(30)
        made = self._postgres.ask(
            "prefect",
            "select count(*), coalesce(max(extract(epoch from r.created)), 0) from flow_run r join flow f"
            f" on f.id = r.flow_id where f.name = 'convert_model' and r.idempotency_key like '{run}:%'",
        )
        count, last = made.split("|")
        requests, stored = self._requests() - asked, self._stored()
        return Measured(
            models=self._registered,
            runs=int(count),
            seconds=seconds,
            found_seconds=float(last) - started,
            cpu_seconds={name: value - spent.get(name, 0) for name, value in self._spent().items()},
            peak_mb=peak_mb,
            requests=requests.total(),
            most_asked=dict(requests.most_common(12)),
            database_bytes={name: size - sizes[name] for name, size in self._sizes().items()},
            rows={
                name: {table: more for table, count in tables.items() if (more := count - rows[name].get(table, 0))}
                for name, tables in self._rows().items()
            },
            store_files=stored[0] - files[0],
            store_bytes=stored[1] - files[1],
        )

    def idle(self, seconds: float) -> float:
        """Requests a minute to Prefect's server while nothing is to be done."""
        before = self._requests().total()
        time.sleep(seconds)
        return (self._requests().total() - before) * 60 / seconds

    def ask(self, path: str, content: Any = None) -> Any:
        """Ask Prefect's server."""
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.api + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def close(self) -> None:
        for program in self.programs.values():
            for process in (program, *program.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            program.wait()

    def _start(self, name: str, *command: str, **environment: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.programs[name] = psutil.Popen(
                [sys.executable, "-P", "-m", *command],
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment | environment,
            )

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [sys.executable, "-P", "-m", *command],
            cwd=self.folder,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}")

    def _await(self, address: str) -> None:
        deadline = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(address, timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _requests(self) -> "Counter[str]":
        """Requests to Prefect's server so far, by method and path."""
        with (self.folder / "prefect.log").open(errors="replace") as log:
            found = (_REQUEST.search(line) for line in log)
            return Counter(_ID.sub("ID", f"{match[1]} {match[2]}") for match in found if match)

    def _spent(self) -> dict[str, float]:
        """Processor seconds of the servers and of what they started; of workers, those of processes that ended too."""
        spent = {}
        for name, program in self.programs.items():
            times = [process.cpu_times() for process in (program, *program.children(recursive=True))]
            spent[name] = sum(each.user + each.system + each.children_user + each.children_system for each in times)
        return spent

    def _sizes(self) -> dict[str, int]:
        return {name: int(self._postgres.ask(name, f"select pg_database_size('{name}')")) for name in self._databases}

    def _rows(self) -> dict[str, dict[str, int]]:
        rows = {}
        for name in self._databases:
            listed = "select table_name from information_schema.tables where table_schema = 'public'"
            tables = self._postgres.ask(name, f"{listed} and table_type = 'BASE TABLE'").splitlines()
            query = " union all ".join(f"select '{table}', count(*) from {json.dumps(table)}" for table in tables)
            counts = (line.split("|") for line in self._postgres.ask(name, query).splitlines())
            rows[name] = {table: int(count) for table, count in counts}
        return rows

    def _stored(self) -> tuple[int, int]:
        files = [file.stat().st_size for file in (self.folder / "store").rglob("*") if file.is_file()]
        return len(files), sum(files)


@contextmanager
def peaks(programs: Mapping[str, psutil.Popen]) -> Iterator[dict[str, float]]:
    """The most memory that each program and what it started held in the block, MiB; looked at every two seconds."""
    most = dict.fromkeys(programs, 0.0)
    over = threading.Event()

    def look() -> None:
        while not over.wait(_POLL_SECONDS):
            for name, program in programs.items():
                most[name] = max(most[name], _pss_mb(program))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield most
    finally:
        over.set()
        looking.join()


def _pss_mb(program: psutil.Popen) -> float:
    """PSS: of memory that processes share, each one's part."""
    held = 0
    for process in (program, *program.children(recursive=True)):
        try:
            held += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return held / 2**20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
