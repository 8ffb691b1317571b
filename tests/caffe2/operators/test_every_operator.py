"""No operator is forgotten here: each that a net may hold has cases beside genuine Caffe2."""

import runpy
from pathlib import Path

import roastery.caffe2.kernels  # noqa: F401  (registers the kernels)
from roastery.caffe2.kernels.detection import detection_kernels
from roastery.caffe2.kernels.registry import kernels


def test_every_operator_of_the_torch_runtime_is_held_against_genuine_caffe2() -> None:
    files = [file for file in Path(__file__).parent.glob("test_*.py") if file != Path(__file__)]
    held = [operator for file in files for operator in runpy.run_path(str(file))["CASES"]]
    assert sorted(held) == sorted({**kernels(), **detection_kernels()})
