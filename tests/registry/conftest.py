import shutil
import socket

import pytest

from roastery.caffe2 import caffe2_pb2
from roastery.registry.catalog import Catalog
from roastery.results import (
    ArtifactRef,
    Conversion,
    Evaluation,
    LatencySummary,
    ParitySummary,
    ResolvedModel,
    StageTiming,
    VerdictSummary,
)


@pytest.fixture(scope="session")
def make_conversion():
    """A conversion with made-up figures, as the pipeline hands it over."""

    def make(key="a1" * 32, name="mask_rcnn_r50", passed=True, judged_by="torch", **changes):
        artifact = {stage: ArtifactRef(stage=stage, key=key, uri=f"file:///{stage}", files={}) for stage in "rcope"}
        resolved = ResolvedModel(
            name=name,
            meta_architecture="GeneralizedRCNN",
            artifact=artifact["r"],
            config_sha256="c0" * 32,
            weights="model_final.pkl",
            source_sha256="50" * 32,
            weights_bytes=2_000_000,
        )
        deltas = {"bbox/AP": -0.0125, "bbox/AP50": 0.5, "segm/AP": None}
        evaluation = {
            "model": name,
            "original_kind": "reference",
            "dataset": "shapes_val",
            "dataset_sha256": "da" * 32,
            "images": 100,
            "failed_images": (),
            "metrics": {
                "original": {"bbox": {"AP": 62.4725, "AP50": 90.0, "APl": None, "AP-hot dog/bun?": 1.5}},
                judged_by: {"bbox": {"AP": 62.46, "AP50": 90.5, "APl": float("nan"), "AP-hot dog/bun?": 1.5}},
            },
            "latency": {"original": LatencySummary(median_ms=30.0, p90_ms=40.0, images=100)},
            "parity": (
                ParitySummary(passed=True, images=4, differences=(), largest={"bbox_nms": 0.001}, runtime=judged_by),
            ),
            "verdicts": {judged_by: VerdictSummary(passed=passed, reasons=() if passed else ("bad",), deltas=deltas)},
            "passed": passed,
            "judged_by": judged_by,
        }
        return Conversion(
            key=key,
            resolved=resolved,
            evaluation=Evaluation(**(evaluation | changes)),
            converted=artifact["c"],
            onnx=artifact["o"],
            program=artifact["p"],
            evaluated=artifact["e"],
            report=artifact["r"],
            timings=(StageTiming(stage="trace", seconds=6.5, peak_memory_mb=812.0, cached=False),),
            versions={"roastery": "0.1.0", "torch": "2.13.0"},
        )

    return make


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """MLflow's empty tables: making them anew would cost each test seconds."""
    database = tmp_path_factory.mktemp("registry") / "empty.db"
    client = Catalog(f"sqlite:///{database}").client
    client.search_registered_models()
    return database


@pytest.fixture
def catalog(empty_database, tmp_path):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Catalog(f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture
def files(tmp_path):
    """The files of a conversion, some of which are not to be filed."""
    folder = tmp_path / "converted"
    folder.mkdir()
    names = ["model.pb", "model_init.pb", "model.pbtxt", "model.svg", "model.onnx", "evaluation.json"]
    names += ["model.pt2", "model_final.pkl", "notes.txt"]
    for name in names:
        (folder / name).write_bytes(f"the bytes of {name}".encode())
    # The least that is a net.
    for name in ("model.pb", "model_init.pb"):
        net = caffe2_pb2.NetDef(name=name)
        net.op.add(type="Copy", input=["data"], output=["copied"])
        net.arg.add(name="meta_architecture", s=b"GeneralizedRCNN")
        (folder / name).write_bytes(net.SerializeToString())
    return {name: folder / name for name in names}


@pytest.fixture
def report(tmp_path):
    folder = tmp_path / "reported"
    folder.mkdir()
    (folder / "report.md").write_text("# A report\n\n![worst](report-1.png)\n")
    (folder / "report.html").write_text("<!DOCTYPE html><title>A report</title>")
    (folder / "report-1.png").write_bytes(b"a picture")
    (folder / "report-curves-bbox.svg").write_bytes(b"a drawing")
    (folder / "config.yaml").write_text("VERSION: 2\n")
    (folder / "detections-torch.json").write_text("[]")
    (folder / "elsewhere.png").write_bytes(b"another's picture")
    return folder / "report.md"


@pytest.fixture
def free_port():
    """A port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
