"""A program that was written for the original's files runs ours, in genuine Caffe2's own Python."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from roastery.caffe2.caffe2_runtime import find_caffe2_python
from roastery.evaluation.parity import compare_detections

pytestmark = pytest.mark.caffe2

PROGRAM = Path(__file__).with_name("program_of_the_originals.py")
ARGUMENTS = ("size_divisibility", "device", "meta_architecture")


def run_program(folder: Path, golden: Path, scratch: Path) -> dict[str, np.ndarray]:
    """What the program makes of a folder's nets, on the golden inputs of their model."""
    given = np.load(golden / "caffe2_io.npz")
    images = sorted({key.split("/")[0] for key in given.files})
    inputs = {
        f"{image}/{number}": given[f"{image}/{name}"]
        for image in images
        for number, name in enumerate(("data", "im_info"))
    }
    np.savez(scratch / "inputs.npz", **inputs)
    command = [find_caffe2_python(), "-I", PROGRAM, folder, scratch / "inputs.npz", scratch / "answers.npz"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found = np.load(scratch / "answers.npz")
    return {name: found[name] for name in found.files}


@pytest.mark.parametrize("model", ["faster_rcnn_fpn", "mask_rcnn_fpn"])
def test_what_the_program_gets_of_our_files_is_what_it_gets_of_the_originals(
    golden: Path, converted: Callable[[str], Path], tmp_path: Path, model: str
) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "original").mkdir()
    ours = run_program(converted(model), golden / model, tmp_path / "ours")
    original = run_program(golden / model, golden / model, tmp_path / "original")
    assert list(ours) == list(original)
    assert ours["order"].tolist() == original["order"].tolist()
    assert [ours[name].item() for name in ARGUMENTS] == [original[name].item() for name in ARGUMENTS]
    assert {name: array.dtype for name, array in ours.items()} == {
        name: array.dtype for name, array in original.items()
    }
    for image in range(4):
        blobs = [{name: each[f"{image}/{name}"] for name in ours["order"]} for each in (original, ours)]
        report = compare_detections(*blobs)
        assert report.passed, f"image {image}: {report.differences}"
        fields = [name for name in ours if name.startswith(f"{image}/pred_") or name == f"{image}/scores"]
        assert len(fields) == 3 + ("mask_fcn_probs" in ours["order"])
        for field in fields:
            assert ours[field].shape == original[field].shape
            assert len(ours[field]) > 0
