"""model.pt2: repeats to the byte, says its interface, and is refused where it is none."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from roastery.errors import ModelFileError
from roastery.export.trace import load_program

_CONVERT = """
import sys
from pathlib import Path
from roastery.caffe2.convert import convert
from roastery.caffe2.nets import save_nets
from roastery.config import load_config
from roastery.export.onnx import export_onnx, load_onnx, save_onnx
from roastery.export.trace import load_program, save_program, trace
from roastery.sources.native import load_detector, net_arguments

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
config = load_config(source / "config.yaml")
detector = load_detector(config, source / "model_final.pkl")
save_program(trace(detector, net_arguments(config, detector)), folder / "model.pt2")
save_onnx(export_onnx(load_program(folder / "model.pt2")), folder / "model.onnx")
save_nets(convert(load_onnx(folder / "model.onnx")), folder)
"""


def test_a_fresh_process_in_another_folder_makes_the_same_files_to_the_byte(
    converted: Callable[[str], Path], box_model: Path, tmp_path: Path
) -> None:
    first = converted(box_model.name)
    # Another seed of hashes: what comes in a set's order would change.
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(
        [sys.executable, "-c", _CONVERT, str(box_model), str(tmp_path)],
        check=True,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
    )
    for name in ("model.pt2", "model.onnx", "model.pb", "model_init.pb", "model.pbtxt"):
        assert (tmp_path / name).read_bytes() == (first / name).read_bytes(), name


def test_a_saved_program_holds_no_path_of_the_sources(converted: Callable[[str], Path], box_model: Path) -> None:
    with zipfile.ZipFile(converted(box_model.name) / "model.pt2") as archive:
        for name in archive.namelist():
            content = archive.read(name)
            for trace_of_a_machine in (b"site-packages", b"stack_trace", str(Path.cwd()).encode()):
                assert trace_of_a_machine not in content, name


def test_a_loaded_program_knows_its_outputs_and_its_nets_arguments(
    converted: Callable[[str], Path], box_model: Path
) -> None:
    traced = load_program(converted(box_model.name) / "model.pt2")
    assert traced.output_names == ("bbox_nms", "score_nms", "class_nms")
    assert traced.net_arguments["meta_architecture"] == "GeneralizedRCNN"


def test_a_missing_program_is_a_model_file_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such traced program"):
        load_program(tmp_path / "model.pt2")


@pytest.mark.parametrize("keep", [0, 1000, -1000])
def test_a_truncated_program_is_refused(
    converted: Callable[[str], Path], box_model: Path, tmp_path: Path, keep: int
) -> None:
    (tmp_path / "model.pt2").write_bytes((converted(box_model.name) / "model.pt2").read_bytes()[:keep])
    with pytest.raises(ModelFileError, match="not a readable traced program"):
        load_program(tmp_path / "model.pt2")


def test_a_program_of_somebody_else_is_refused(tmp_path: Path) -> None:
    class Double(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    torch.export.save(torch.export.export(Double(), (torch.zeros(2),)), tmp_path / "model.pt2")
    with pytest.raises(ModelFileError, match="not a program that Roastery traced"):
        load_program(tmp_path / "model.pt2")
