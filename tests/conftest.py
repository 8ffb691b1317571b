"""What every test shares: one thread, folders of its own, hypothesis without chance, genuine Caffe2 where it is."""

import os
import tempfile
from collections.abc import Callable
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
from functools import cache
from typing import TYPE_CHECKING

import hypothesis
import pytest

from roastery.caffe2.caffe2_runtime import find_caffe2_python
from roastery.errors import Caffe2Unavailable

if TYPE_CHECKING:
    from torch import Tensor
    from yacs.config import CfgNode

    from roastery.reference.rcnn import ReferenceDetector

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SHAPES = ROOT / "examples" / "shapes"
# Tests take models as these find them, so that one more model is tested without a word here.
DEMO_MODELS = sorted(file.parent for file in SHAPES.glob("*/config.yaml"))
GOLDEN_MODELS = sorted(file.parent for file in GOLDEN.glob("*/model.pb"))

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("repeatable")


@cache
def _has_caffe2() -> bool:
    try:
        find_caffe2_python()
    except Caffe2Unavailable:
        return False
    return True


# What a test may need that not every machine has: its marker, whether it is here, and how to get it.
_NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "caffe2": (_has_caffe2, "tests of genuine Caffe2; `make caffe2` adds it"),
    "graphviz": (lambda: shutil.which("dot") is not None, "tests of drawing; install graphviz (Debian: graphviz)"),
    "browser": (
        lambda: shutil.which("chromium") is not None,
        "tests in a browser; install chromium (Debian: chromium)",
    ),
}
_left_out: dict[str, int] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for marker, (is_here, _) in _NEEDS.items():
        needing = [item for item in items if item.get_closest_marker(marker)]
        if needing and not is_here():
            items[:] = [item for item in items if item not in needing]
            config.hook.pytest_deselected(items=needing)
            _left_out[marker] = len(needing)


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = _left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """A worker has ended: every one collects, and leaves out, the same."""
    _left_out.update(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for marker, count in _left_out.items():
        terminalreporter.write_line(f"left out: {count} {_NEEDS[marker][1]}")


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


def _first_demo_model(with_masks: bool) -> Path:
    from roastery.config import load_config

    return next(folder for folder in DEMO_MODELS if load_config(folder / "config.yaml").MODEL.MASK_ON is with_masks)


@pytest.fixture(scope="session", params=DEMO_MODELS, ids=lambda folder: folder.name)
def demo_model(request: pytest.FixtureRequest) -> Path:
    """Each model of the demo zoo: the folder of its config.yaml and model_final.pkl."""
    folder: Path = request.param
    return folder


@pytest.fixture(scope="session")
def box_model() -> Path:
    """A demo model's folder: one that finds boxes alone."""
    return _first_demo_model(with_masks=False)


@pytest.fixture(scope="session")
def mask_model() -> Path:
    """A demo model's folder: one that finds masks too."""
    return _first_demo_model(with_masks=True)


@pytest.fixture(scope="session", params=GOLDEN_MODELS, ids=lambda folder: folder.name)
def golden_model(request: pytest.FixtureRequest) -> Path:
    """Each golden conversion: the folder of its nets and of what they gave."""
    folder: Path = request.param
    return folder


@pytest.fixture(scope="session")
def any_golden() -> Path:
    """The folder of a golden conversion, whichever."""
    return GOLDEN_MODELS[0]


@pytest.fixture(scope="session")
def load_reference() -> "Callable[[str], tuple[ReferenceDetector, CfgNode]]":
    """A demo model's reference and its config, by name."""

    @cache
    def load(name: str) -> "tuple[ReferenceDetector, CfgNode]":
        from roastery.config import load_config
        from roastery.reference.rcnn import ReferenceDetector
        from roastery.sources.native import load_detector

        config = load_config(SHAPES / name / "config.yaml")
        return ReferenceDetector(config, load_detector(config, SHAPES / name / "model_final.pkl")), config

    return load


@pytest.fixture
def some_tensors() -> "dict[str, Tensor]":
    """The tensors of a small checkpoint."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator),
        # Larger than what is read in place.
        "fc.weight": torch.randn(40, 50, generator=generator),
        "fc.bias": torch.randn(40, generator=generator),
        "empty": torch.zeros(0, 7),
        "norm.num_batches_tracked": torch.tensor(7),
    }


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a demo model's conversion (model.pt2, model.onnx, model.pb, ...), made once for all workers."""
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def convert_model(name: str) -> Path:
        from roastery.caffe2.convert import convert
        from roastery.caffe2.nets import save_nets
        from roastery.config import load_config
        from roastery.export.onnx import export_onnx, load_onnx, save_onnx
        from roastery.export.trace import load_program, save_program, trace
        from roastery.sources.native import load_detector, net_arguments

        folder = shared / "converted" / name
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not (folder / "model.pb").exists():
                config = load_config(SHAPES / name / "config.yaml")
                detector = load_detector(config, SHAPES / name / "model_final.pkl")
                save_program(trace(detector, net_arguments(config, detector)), folder / "model.pt2")
                save_onnx(export_onnx(load_program(folder / "model.pt2")), folder / "model.onnx")
                save_nets(convert(load_onnx(folder / "model.onnx")), folder)
        return folder

    return convert_model
