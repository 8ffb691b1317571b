"""What every test shares: one thread, folders of its own, hypothesis without chance, genuine Caffe2 where it is."""

import os
import tempfile
from pathlib import Path

# One thread a worker, before torch or numpy are imported: two workers on two cores must not share them.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
# A Prefect home a worker, and nothing sent anywhere.
_HOME = Path(tempfile.mkdtemp(prefix=f"roastery-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-"))
os.environ["PREFECT_HOME"] = str(_HOME / "prefect")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import shutil

import hypothesis
import pytest

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SHAPES = ROOT / "examples" / "shapes"

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("repeatable")

_left_out = 0


def _has_caffe2() -> bool:
    return bool(os.environ.get("CAFFE2_PYTHON")) or (ROOT / ".caffe2" / "bin" / "python").exists()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    global _left_out  # noqa: PLW0603  (pytest's hooks share state through the module)
    if _has_caffe2():
        return
    needing = [item for item in items if item.get_closest_marker("caffe2")]
    items[:] = [item for item in items if not item.get_closest_marker("caffe2")]
    config.hook.pytest_deselected(items=needing)
    _left_out = len(needing)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _has_caffe2():
        count = f"{_left_out} tests" if _left_out else "the tests marked caffe2"
        terminalreporter.write_line(f"left out: {count} of genuine Caffe2; `make caffe2` adds it")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the golden conversions."""
    return GOLDEN


@pytest.fixture(scope="session")
def shapes() -> Path:
    """The folder of the demo zoo: datasets, configs and checkpoints."""
    return SHAPES
