"""A stage's key: each input in turn changes it, and what should not matter does not."""

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import BaseModel

from roastery.digest import file_sha256
from roastery.results import ArtifactRef, Measures, ParitySummary, PinnedDataset, ResolvedModel, StageTiming
from roastery.spec import DatasetSpec, GateSpec, ModelSpec, SampleSpec
from roastery.stages import STAGES
from roastery.stages.convert import ConvertRequest
from roastery.stages.evaluate import EvaluateRequest
from roastery.stages.export_onnx import ExportOnnxRequest
from roastery.stages.predict import PredictRequest
from roastery.stages.report import ReportRequest
from roastery.stages.resolve import ResolveRequest
from roastery.stages.sample import SampleRequest
from roastery.stages.stage import Request
from roastery.stages.trace import TraceRequest
from roastery.stages.worker import load_stage
from roastery.targets import caffe2

HERE, THERE = Path("/here"), Path("/there")


def artifact(stage: str, *files: str) -> ArtifactRef:
    """An artifact as a store on this machine has it."""
    return ArtifactRef(
        stage=stage,
        key=f"{stage.replace('_', '')}0",
        uri=f"/store/{stage}/0",
        files={name: f"{name}-0" for name in files},
    )


RESOLVED = ResolvedModel(
    name="m",
    meta_architecture="GeneralizedRCNN",
    artifact=artifact("resolve", "config.yaml"),
    config_sha256="c0",
    weights="/here/w.pkl",
    source_sha256="s0",
    weights_bytes=7,
)
PINNED = PinnedDataset(name="d", sha256="d0", images=4, sample_sha256="p0")
DATASET = DatasetSpec(name="d", images=HERE, annotations=HERE / "a.json")
NET = artifact("convert", "model.pb", "model_init.pb", "model.svg")
TIMING = StageTiming(stage="trace", seconds=1.0, peak_memory_mb=1.0, cached=False)
PARITY = ParitySummary(passed=True, images=4, differences=(), largest={}, runtime="torch")

REQUESTS: dict[str, Request] = {
    "sample": SampleRequest(model="m", resolved=RESOLVED, dataset=DATASET, pinned=PINNED, sample=SampleSpec()),
    "trace": TraceRequest(model="m", resolved=RESOLVED, sample=artifact("sample", "inputs.npz")),
    "export_onnx": ExportOnnxRequest(model="m", program=artifact("trace", "model.pt2", "outputs.npz")),
    "convert": ConvertRequest(
        target="caffe2",
        model="m",
        onnx=artifact("export_onnx", "model.onnx"),
        sample=artifact("sample", "inputs.npz"),
        traced=artifact("trace", "model.pt2", "outputs.npz"),
        runtimes=("torch",),
    ),
    "predict": PredictRequest(
        model="m", finder="torch", shard=1, shards=2, resolved=RESOLVED, dataset=DATASET, pinned=PINNED, converted=NET
    ),
    "evaluate": EvaluateRequest(
        model="m",
        resolved=RESOLVED,
        dataset=DATASET,
        pinned=PINNED,
        measures=Measures(iou_types=("bbox",)),
        shards={"original": (artifact("predict"),), "torch": (artifact("predict"),)},
        converted=NET,
        parity=(PARITY,),
        gate=GateSpec(),
    ),
    "report": ReportRequest(
        model="m",
        evaluated=artifact("evaluate", "evaluation.json"),
        resolved=RESOLVED,
        dataset=DATASET,
        pinned=PINNED,
        converted=NET,
        onnx=artifact("export_onnx", "model.onnx"),
        operators={"Conv": 1},
        gate=GateSpec(),
        timings=(TIMING,),
        versions={"torch": "1"},
    ),
}

_RESOLVED_DECIDES_NOT = [
    "resolved.name",
    "resolved.meta_architecture",
    "resolved.weights",
    "resolved.weights_bytes",
    "resolved.artifact.uri",
    "resolved.artifact.stage",
    "resolved.source",
]
_DATASET_DECIDES_NOT = [f"dataset.{field}" for field in DatasetSpec.model_fields] + ["pinned.images"]


def paths(model: BaseModel, prefix: str = "") -> Iterator[str]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        yield from paths(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else [f"{prefix}{name}"]


@dataclass(frozen=True)
class Fields:
    """The fields of a request, nested ones with dots, by whether they decide what the stage makes."""

    decide: dict[str, Any]
    decide_nothing: list[str]


FIELDS = {
    "sample": Fields(
        {"resolved.config_sha256": "c1", "pinned.sample_sha256": "p1", "sample.n": 5, "sample.seed": 1, "batch": 2},
        # The config's digest and the images' are there; the rest says where they lie.
        ["model", "resolved.source_sha256", "resolved.artifact.key", "resolved.artifact.files", "pinned.name"]
        + ["pinned.sha256", *_RESOLVED_DECIDES_NOT, *_DATASET_DECIDES_NOT],
    ),
    "trace": Fields(
        {
            "resolved.config_sha256": "c1",
            "resolved.source_sha256": "s1",
            "sample.files": {"inputs.npz": "1"},
            "export.batch": 2,
            "export.decode": True,
        },
        ["model", "resolved.artifact.key", "resolved.artifact.files", "sample.key", "sample.uri", "sample.stage"]
        + _RESOLVED_DECIDES_NOT,
    ),
    "export_onnx": Fields(
        {"program.files": {"model.pt2": "1"}}, ["model", "program.key", "program.uri", "program.stage"]
    ),
    "convert": Fields(
        {
            "onnx.files": {"model.onnx": "1"},
            "sample.files": {"inputs.npz": "1"},
            "traced.files": {"outputs.npz": "1"},
            "runtimes": ("torch", "caffe2"),
            "settings": {"float_layers": []},
            "target": "onnxruntime",
        },
        ["model"] + [f"{name}.{field}" for name in ("onnx", "sample", "traced") for field in ("key", "uri", "stage")],
    ),
    "predict": Fields(
        {
            "finder": "caffe2",
            "occasion": "a run",
            "shard": 2,
            "shards": 3,
            "resolved.config_sha256": "c1",
            "pinned.sha256": "d1",
            "converted.files": {"model.pb": "1", "model_init.pb": "model_init.pb-0"},
        },
        # Of a net's target the net decides; of the original's the checkpoint: `test_of_the_original_...`.
        ["model", "resolved.source_sha256", "resolved.artifact.key", "resolved.artifact.files", "pinned.name"]
        + ["pinned.sample_sha256", "converted.key", "converted.uri", "converted.stage"]
        + [*_RESOLVED_DECIDES_NOT, *_DATASET_DECIDES_NOT],
    ),
    "evaluate": Fields(
        {
            "model": "other",
            "resolved.artifact.key": "1",
            "pinned.name": "e",
            "pinned.sha256": "d1",
            "measures.iou_types": ("bbox", "segm"),
            "measures.oks_sigmas": (0.05,),
            "shards": {"original": (artifact("predict"),), "torch": (artifact("predict"), artifact("predict"))},
            "converted.key": "1",
            "gate.max_ap_delta": 0.2,
            "gate.two_sided": False,
            "gate.require_parity": False,
        },
        # The keys stand for what they are keys of: parity is a fact of the converted net's artifact.
        ["resolved.config_sha256", "resolved.source_sha256", "resolved.artifact.files", "pinned.sample_sha256"]
        + ["converted.uri", "converted.stage", "converted.files", "parity"]
        + [*_RESOLVED_DECIDES_NOT, *_DATASET_DECIDES_NOT],
    ),
    # The evaluation's key covers every input of every stage before.
    "report": Fields(
        {"evaluated.key": "1"},
        [path for path in paths(REQUESTS["report"]) if path != "evaluated.key"],
    ),
}


@pytest.fixture(autouse=True)
def genuine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Genuine Caffe2, whether it is installed here or not."""
    monkeypatch.setattr(caffe2, "caffe2_identity", lambda: "1.10")


def changed(request: Any, path: str, value: Any) -> Any:
    """The request with another value at a path."""
    name, _, rest = path.partition(".")
    inner = changed(getattr(request, name), rest, value) if rest else value
    return request.model_copy(update={name: inner})


def another(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, Path):
        return THERE / value.name
    if isinstance(value, dict):
        return {**value, "more": "1"} if all(isinstance(each, str) for each in value.values()) else {"Relu": 2}
    if isinstance(value, tuple):
        return () if value else ("another",)
    return f"{value}1" if isinstance(value, str) else THERE if value is None else value + 1


def test_every_stage_is_looked_at() -> None:
    assert {"resolve", *REQUESTS} == set(STAGES) == {"resolve", *FIELDS}


@pytest.mark.parametrize("stage", REQUESTS)
def test_of_every_field_it_is_known_whether_it_decides(stage: str) -> None:
    """A field that is added must be put on one side or the other."""
    known = [*FIELDS[stage].decide, *FIELDS[stage].decide_nothing]
    assert sorted(paths(REQUESTS[stage])) == sorted(known)


@pytest.mark.parametrize(("stage", "path"), [(stage, path) for stage in FIELDS for path in FIELDS[stage].decide])
def test_an_input_changes_the_key(stage: str, path: str) -> None:
    request = REQUESTS[stage]
    assert changed(request, path, FIELDS[stage].decide[path]).key() != request.key()


@pytest.mark.parametrize(
    ("stage", "path"), [(stage, path) for stage in FIELDS for path in FIELDS[stage].decide_nothing]
)
def test_what_decides_nothing_leaves_the_key(stage: str, path: str) -> None:
    request: Any = REQUESTS[stage]
    value = request
    for name in path.split("."):
        value = getattr(value, name)
    other = changed(request, path, another(value))
    assert other != request
    assert other.key() == request.key()


def test_of_the_original_the_checkpoint_decides_and_of_a_net_the_net() -> None:
    net = REQUESTS["predict"]
    original = changed(net, "finder", "original")
    assert changed(original, "resolved.source_sha256", "s1").key() != original.key()
    assert changed(original, "converted", None).key() == original.key()
    assert original.key() != net.key()


@pytest.mark.parametrize(
    ("stage", "name"),
    [("convert", "caffe2_identity"), ("convert", "drawing_identity"), ("predict", "caffe2_identity")],
)
def test_another_caffe2_or_graphviz_changes_the_key_where_it_is_used(
    stage: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request: Any = REQUESTS[stage]
    if name == "caffe2_identity":
        torch_alone = request
        request = changed(request, *(("runtimes", ("caffe2",)) if stage == "convert" else ("finder", "caffe2")))
        before = torch_alone.key()
    keys = [request.key()]
    monkeypatch.setattr(caffe2, name, lambda: "another")
    keys.append(request.key())
    assert keys[0] != keys[1]
    if name == "caffe2_identity":
        assert torch_alone.key() == before


@pytest.mark.parametrize("stage", STAGES)
def test_the_packages_that_a_stage_names_are_installed(stage: str) -> None:
    from roastery.provenance import package_version

    assert all(package_version(name) for name in load_stage(stage).request.packages)


# What a person registers: a config, a checkpoint, images.


@pytest.fixture
def registered(mask_model: Path, dataset: DatasetSpec, tmp_path: Path) -> ResolveRequest:
    """A registered model of which everything may be changed."""
    folder = tmp_path / "registered"
    shutil.copytree(mask_model, folder / "model")
    (folder / "images").mkdir()
    for image in json.loads(dataset.annotations.read_text())["images"]:
        shutil.copy(dataset.images / image["file_name"], folder / "images")
    shutil.copy(dataset.annotations, folder / "instances.json")
    return ResolveRequest(model="m", spec=spec_in(folder), dataset=dataset_in(folder))


def spec_in(folder: Path) -> ModelSpec:
    weights = str(folder / "model" / "model_final.pkl")
    return ModelSpec(name="m", config=folder / "model" / "config.yaml", weights=weights, dataset="d")


def dataset_in(folder: Path) -> DatasetSpec:
    return DatasetSpec(name="d", images=folder / "images", annotations=folder / "instances.json")


def change_a_weight(request: ResolveRequest) -> None:
    """The last bit of one number of many."""
    path = Path(request.spec.weights)
    content = pickle.loads(path.read_bytes())
    name = sorted(content["model"])[0]
    array = np.array(content["model"][name])
    array.reshape(-1)[-1] = np.nextafter(array.reshape(-1)[-1], np.float32(np.inf))
    content["model"][name] = array
    path.write_bytes(pickle.dumps(content))


def change_the_config(request: ResolveRequest) -> None:
    path = request.spec.config
    content = yaml.safe_load(path.read_text())
    content["MODEL"]["ROI_HEADS"]["SCORE_THRESH_TEST"] += 0.01
    path.write_text(yaml.safe_dump(content))


def change_an_image(request: ResolveRequest) -> None:
    path = sorted(request.dataset.images.iterdir())[0]
    path.write_bytes(path.read_bytes() + b"\0")


def change_an_annotation(request: ResolveRequest) -> None:
    path = request.dataset.annotations
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][0] += 0.5
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("change", [change_a_weight, change_the_config, change_an_image, change_an_annotation])
def test_a_changed_file_of_a_registered_model_changes_the_key(
    registered: ResolveRequest, change: Callable[[ResolveRequest], None]
) -> None:
    before = registered.key()
    change(registered)
    assert registered.key() != before


def test_what_a_spec_says_otherwise_changes_the_key(registered: ResolveRequest) -> None:
    few = registered.dataset.model_copy(update={"sample_images": registered.dataset.images})
    annotations = json.loads(few.annotations.read_text())
    annotations["images"] = annotations["images"][1:]
    kept = {image["id"] for image in annotations["images"]}
    annotations["annotations"] = [each for each in annotations["annotations"] if each["image_id"] in kept]
    other = few.annotations.with_name("sampled.json")
    other.write_text(json.dumps(annotations))
    keys = [
        registered.key(),
        changed(registered, "spec.overrides", ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.3")).key(),
        changed(registered, "dataset.name", "e").key(),
        changed(registered, "dataset", few.model_copy(update={"sample_annotations": other})).key(),
    ]
    assert len(set(keys)) == len(keys)


def test_another_folder_another_name_and_other_words_leave_the_key(registered: ResolveRequest, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "registered", elsewhere, copy_function=shutil.copyfile)
    config = elsewhere / "model" / "config.yaml"
    config.write_text(f"# A comment.\n{config.read_text()}")
    spec = spec_in(elsewhere).model_copy(
        update={
            "name": "renamed",
            "weights_sha256": file_sha256(Path(registered.spec.weights)),
            "runtimes": "torch",
            "gate": GateSpec(max_ap_delta=5.0),
            "overrides": ("OUTPUT_DIR", "/there", "MODEL.WEIGHTS", "other.pkl"),
        }
    )
    moved = ResolveRequest(model="renamed", spec=spec, dataset=dataset_in(elsewhere))
    assert moved.key() == registered.key()


def test_a_dataset_that_changes_during_a_run_is_refused(registered: ResolveRequest) -> None:
    from roastery.errors import DatasetError
    from roastery.stages.dataset import load_evaluated, load_sampled, pin_dataset

    pinned = pin_dataset(registered.dataset, decode=True)
    assert len(load_evaluated(registered.dataset, pinned).images) == pinned.images
    change_an_image(registered)
    for load in (load_evaluated, load_sampled):
        with pytest.raises(DatasetError, match="changed during the run; run again"):
            load(registered.dataset, pinned)
