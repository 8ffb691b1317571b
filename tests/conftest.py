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
# Eight processes of 250 MB beside each server, for jobs that nobody gives it.
os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"

import importlib.util
import json
import shutil
import socket
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from clocks import find_compiler
from network import may_make_networks
from postgres_server import find_postgres, postgres_server
from s3_server import CREDENTIALS, S3Gate, serving_s3
from weights_server import Web

from roastery.caffe2.caffe2_runtime import find_caffe2_python
from roastery.errors import Caffe2Unavailable
from roastery.zoo import ZOO_VARIABLE, zoo_folders

if TYPE_CHECKING:
    from torch import Tensor
    from yacs.config import CfgNode

    from roastery.reference.reference import Reference

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SHAPES = ROOT / "examples" / "shapes"
CPP = ROOT / "build" / "cpp"
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


def _load(file: Path) -> ModuleType:
    """A module that lies in no package."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# What a test may need that not every machine has: its marker, whether it is here, and how to get it.
_NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "caffe2": (_has_caffe2, "tests of genuine Caffe2; `make caffe2` adds it"),
    "cpp": ((CPP / "caffe2_detect").exists, "tests of caffe2_detect; `make cpp` builds it"),
    "graphviz": (lambda: shutil.which("dot") is not None, "tests of drawing; install graphviz (Debian: graphviz)"),
    "browser": (
        lambda: shutil.which("chromium") is not None,
        "tests in a browser; install chromium (Debian: chromium)",
    ),
    "postgres": (
        lambda: find_postgres() is not None,
        "tests on PostgreSQL; install it (Debian: postgresql)",
    ),
    "namespaces": (
        may_make_networks,
        "tests on hosts of their own; install iproute2 and run them as root",
    ),
    "compiler": (
        lambda: find_compiler() is not None,
        "tests that compile C; install a compiler (Debian: gcc)",
    ),
}
# What a test may need that is not installed but given: a machine without it, such as CI's, lacks nothing.
_GIVEN: dict[str, tuple[Callable[[], bool], str]] = {
    "zoo": (
        lambda: any((folder / "Base-RCNN-FPN.yaml").is_file() for folder in zoo_folders()),
        f"tests of detectron2's own configs; set {ZOO_VARIABLE} to the configs folder of a checkout",
    ),
    "detectron2": (
        lambda: importlib.util.find_spec("detectron2") is not None,
        "tests of live detectron2 models; install detectron2 (docs/how-to/live-detectron2.md)",
    ),
}
_left_out: dict[str, int] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for marker, (is_here, _) in {**_NEEDS, **_GIVEN}.items():
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
        # `.ci/run` fails of the first kind.
        kind, needs = ("left out", _NEEDS) if marker in _NEEDS else ("not given", _GIVEN)
        terminalreporter.write_line(f"{kind}: {count} {needs[marker][1]}")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the golden conversions."""
    return GOLDEN


@pytest.fixture(scope="session")
def caffe2_detect(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """`caffe2_detect(*arguments)`: runs the C++ program, built of the sources as they are now."""
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    with FileLock((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cpp.lock"):
        subprocess.run(["cmake", "--build", CPP], check=True, capture_output=True)

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [CPP / "caffe2_detect", *arguments], capture_output=True, text=True, check=False, timeout=120
        )

    return run


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
def load_reference() -> "Callable[[str], tuple[Reference, CfgNode]]":
    """A demo model's reference and its config, by name."""

    @cache
    def load(name: str) -> "tuple[Reference, CfgNode]":
        from roastery.config import load_config
        from roastery.reference.build import build_reference
        from roastery.sources.native import load_detector

        config = load_config(SHAPES / name / "config.yaml")
        return build_reference(config, load_detector(config, SHAPES / name / "model_final.pkl")), config

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
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a demo model's conversion (model.pt2, model.onnx, model.pb, ...), made once for all workers.

    `converted(name, decode=True, batch=2)`: of another kind of net than the usual.
    """
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def convert_model(name: str, *, decode: bool = False, batch: int = 1) -> Path:
        from roastery.caffe2.convert import convert
        from roastery.caffe2.nets import save_nets
        from roastery.config import load_config
        from roastery.export.onnx import export_onnx, load_onnx, save_onnx
        from roastery.export.trace import load_program, save_program, trace
        from roastery.sources.native import load_detector, net_arguments

        folder = shared / "converted" / f"{name}-{decode}-{batch}"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not (folder / "model.pb").exists():
                config = load_config(SHAPES / name / "config.yaml")
                detector = load_detector(config, SHAPES / name / "model_final.pkl", decode=decode)
                save_program(trace(detector, net_arguments(config, detector), batch), folder / "model.pt2")
                save_onnx(export_onnx(load_program(folder / "model.pt2")), folder / "model.onnx")
                save_nets(convert(load_onnx(folder / "model.onnx")), folder)
        return folder

    return convert_model


@pytest.fixture(scope="session")
def detection_cases() -> Any:
    """By the name of a detection operator, a strategy of cases: inputs, arguments, how many outputs are asked for."""
    return _load(ROOT / "tests" / "caffe2" / "operators" / "test_detection.py").CASES


@pytest.fixture(scope="session")
def lowered(converted: Callable[..., Path]) -> Callable[..., Path]:
    """The folder of a demo model lowered to standard ONNX, made once for all workers; takes what `converted` takes."""
    from filelock import FileLock

    def lower_model(name: str, *, decode: bool = False, batch: int = 1) -> Path:
        from roastery.export.onnx import load_onnx
        from roastery.onnx_runtime.files import MODEL_FILE, save_model, to_standard_model
        from roastery.onnx_runtime.lower import standard_onnx

        source = converted(name, decode=decode, batch=batch)
        folder = source / "onnx_runtime"
        folder.mkdir(exist_ok=True)
        with FileLock(folder / "lock"):
            if not (folder / MODEL_FILE).exists():
                save_model(to_standard_model(standard_onnx(load_onnx(source / "model.onnx"))), folder)
        return folder

    return lower_model


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL database for MLflow, really served: one for a worker."""
    with postgres_server() as address:
        yield address


@pytest.fixture(scope="session")
def s3_gate() -> Iterator[S3Gate]:
    """An S3 server, and the gate before it: one of each for a worker."""
    with serving_s3() as gate:
        yield gate


@pytest.fixture
def s3(s3_gate: S3Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a fresh bucket. Endpoint and credentials lie in the environment, as a user sets them."""
    from s3fs import S3FileSystem

    environment = {
        "AWS_ENDPOINT_URL": s3_gate.endpoint,
        **CREDENTIALS,
        # s3fs asks five times itself; botocore's own patience would make that a minute.
        "AWS_MAX_ATTEMPTS": "1",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    s3_gate.open()
    bucket = f"test-{uuid.uuid4().hex}"
    with urllib.request.urlopen(urllib.request.Request(f"{s3_gate.endpoint}/{bucket}", method="PUT")):
        return f"s3://{bucket}"


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A web server, really started, that stands for the one where detectron2's models are published.

    What is fetched goes to `tmp_path / "cache"`, and nobody waits long before an address is asked again.
    """
    web = Web()
    server = web.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("ROASTERY_DETECTRON2_URL", f"{web.url}/detectron2")
    monkeypatch.setenv("ROASTERY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("roastery.weights.fetch.FIRST_WAIT_SECONDS", 0.01)
    yield web
    web.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A port on which nobody listens."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture(scope="session")
def few_annotations(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO annotations of the first four images of the demo's dataset."""
    content = json.loads((shapes / "val" / "instances.json").read_text())
    content["images"] = content["images"][:4]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in kept]
    annotations = tmp_path_factory.mktemp("few") / "instances.json"
    annotations.write_text(json.dumps(content))
    return annotations


@pytest.fixture(scope="session")
def configs(box_model: Path, shapes: Path, few_annotations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of configs: a registered model, `boxes`, and a dataset of four images."""
    import yaml

    folder = tmp_path_factory.mktemp("configured")
    specs = {
        "models/boxes": {
            "name": "boxes",
            "config": str(box_model / "config.yaml"),
            "weights": str(box_model / "model_final.pkl"),
            "dataset": "few",
            "runtimes": "torch",
        },
        "datasets/few": {
            "name": "few",
            "images": str(shapes / "val" / "images"),
            "annotations": str(few_annotations),
        },
        "pipeline": {"shards": 2, "sample": {"n": 1}, "retries": {"delay": 0.1}},
    }
    for name, spec in specs.items():
        path = folder / "configs" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(spec))
    return folder / "configs"
