"""What a whole fleet holds in memory: little of each model, and nothing of those that have ended but how."""

import subprocess
import sys

import pytest

FEW, MANY = 50, 2000
BARE_MB = 8.0
"""For all of the many, where nothing is told of a model but that it passed: measured 4."""
FULL_BYTES = 8192
"""For each, where all there is to tell is told: measured 5,200, of them 1,150 its spec."""

# A fleet of so many models in a process of its own, each of which ends at once; prints the peak of its memory in MB.
# The server is left out: what it is told is only counted.
FLEET = """
import resource, sys
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import flows.fleet
from flows.fan_out import Ended
from roastery.results import Figure, ModelSummary, Registered, TargetSummary
from roastery.spec import ModelSpec

models, full, told = int(sys.argv[1]), sys.argv[2] == "full", []

@contextmanager
def showing(count, key):
    yield lambda summary: told.append(None)

flows.fleet.showing_fleet = showing
flows.fleet.show_fleet = lambda fleet, key: told.append(len(fleet.models))

class AtOnce:
    at_once = 4

    def __init__(self):
        self.running = {}

    def start(self, model, attempt):
        run = uuid4()
        self.running[run] = model
        return run

    def ended(self):
        run, model = self.running.popitem()
        if not full:
            return [Ended(run, ModelSummary(model=model, ended="passed"))]
        figures = tuple(Figure(iou_type=kind, metric="AP", original=50.5, converted=50.25) for kind in ("bbox", "segm"))
        filed = Registered(
            run_id=run.hex, run_url=f"http://127.0.0.1:5000/#/experiments/1/runs/{run.hex}", name=f"{model}.caffe2",
            version=1, alias="validated", tracking_uri="http://127.0.0.1:5000", created=True,
        )
        places = {kind: f"/srv/store/{kind}/{run.hex}{run.hex}" for kind in ("report", "artifacts")}
        target = TargetSummary(
            target="caffe2", passed=True, figures=figures, judged_by="caffe2", registered=filed, **places
        )
        return [Ended(run, ModelSummary(model=model, ended="passed", targets=(target,)))]

    def stop(self, run):
        raise AssertionError(run)

@contextmanager
def dispatching():
    yield AtOnce()

names = [f"m{n}" for n in range(models)]
specs = {n: ModelSpec(name=n, config=Path(f"{n}.yaml"), weights=f"{n}.pkl", dataset="d") for n in names}
state = flows.fleet.run_fleet(specs, dispatching, lambda model: None, "fleet")
assert (state.message, told) == (f"{models} passed", [None] * models + [models]), state
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KB on Linux alone")
@pytest.mark.parametrize(("told", "most"), [("bare", BARE_MB), ("full", (MANY - FEW) * FULL_BYTES / 2**20)])
def test_a_fleets_memory_grows_by_what_it_is_told_of_each_model_and_by_nothing_else(told: str, most: float) -> None:
    """Both processes have the same imports, which are most of what they hold."""

    def peak(models: int) -> float:
        command = [sys.executable, "-c", FLEET, str(models), told]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return float(done.stdout)

    assert peak(MANY) - peak(FEW) < most
