import json
import pickle
from collections import OrderedDict

import onnx_ir as ir
import pytest
from typer.testing import CliRunner

import roastery.conversion
from cli.main import app
from roastery.config import load_config
from roastery.export.onnx import export_onnx
from roastery.export.trace import load_program, save_program, trace
from roastery.sources.native import load_detector, net_arguments


@pytest.fixture
def convert(tmp_path):
    """`roastery convert` in this process: config file, output (tmp_path/out where it is None), further arguments."""

    def run(config, *arguments, output=None):
        where = ["--config-file", str(config), "--output", str(output or tmp_path / "out")]
        return CliRunner().invoke(app, ["convert", *where, *arguments])

    return run


@pytest.fixture(scope="session")
def tensors(mask_model):
    """The example's checkpoint: name to array. Its pickle is our own."""
    return pickle.loads((mask_model / "model_final.pkl").read_bytes())["model"]


@pytest.fixture
def write_checkpoint(tmp_path):
    """Write tensors as detectron2 does and give the path."""

    def write(tensors):
        path = tmp_path / "checkpoint.pkl"
        path.write_bytes(pickle.dumps({"model": OrderedDict(tensors), "__author__": "a test"}))
        return path

    return write


@pytest.fixture(scope="session")
def small_datasets(shapes, tmp_path_factory):
    """A folder in which the dataset `shapes_val` is registered, with its first images only."""
    content = json.loads((shapes / "val/instances.json").read_text())
    content["images"] = sorted(content["images"], key=lambda image: image["id"])[:4]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in kept]
    folder = tmp_path_factory.mktemp("datasets")
    (folder / "instances.json").write_text(json.dumps(content))
    registered = folder / "registered"
    registered.mkdir()
    (registered / "shapes_val.yaml").write_text(
        f"name: shapes_val\nimages: {shapes / 'val/images'}\nannotations: {folder / 'instances.json'}\n"
    )
    return registered


@pytest.fixture(scope="session")
def traced_mask_model(mask_model, tmp_path_factory):
    """The example with masks, traced and exported once, which takes seconds: its model.pt2, and its ONNX."""
    config = load_config(mask_model / "config.yaml")
    detector = load_detector(config, mask_model / "model_final.pkl")
    traced = trace(detector, net_arguments(config, detector))
    program = tmp_path_factory.mktemp("traced") / "model.pt2"
    # Before it is used up by the export.
    save_program(traced, program)
    return program, ir.to_proto(export_onnx(traced))


@pytest.fixture
def already_traced(traced_mask_model, monkeypatch):
    """`roastery convert` of the example with masks takes its trace and its ONNX from `traced_mask_model`."""
    program, proto = traced_mask_model
    traced = load_program(program)
    monkeypatch.setattr(roastery.conversion, "trace", lambda detector, arguments, batch: traced)
    monkeypatch.setattr(roastery.conversion, "export_onnx", lambda traced: ir.from_proto(proto))
