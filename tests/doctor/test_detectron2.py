"""A torchvision and a detectron2 that do not load are told with what is wrong and the way out."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from roastery.doctor.detectron2 import look_at_detectron2, look_at_torchvision

Install = Callable[[dict[str, str]], Path]

_OPERATORS = """
import torch
__version__ = "0.28.0"
library = torch.library.Library("torchvision", "DEF")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
_TORCHVISION = {
    "torchvision/__init__.py": "raise RuntimeError('operator torchvision::nms does not exist')",
    "torchvision/version.py": "__version__ = '0.28.0+cu130'\n",
    "torchvision-0.28.0.dist-info/METADATA": (
        "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\nRequires-Dist: torch (==2.13.0)\n"
    ),
}
_DETECTRON2 = {
    "detectron2/__init__.py": '__version__ = "0.6"\n',
    "detectron2/_C.py": "",
    "detectron2/modeling.py": "",
}


def test_what_is_not_installed_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roastery.doctor.detectron2.find_spec", lambda name: None)
    assert [look().state for look in (look_at_torchvision, look_at_detectron2)] == ["missing", "missing"]


def test_a_torchvision_of_another_device_is_told_with_both_builds(install: Install) -> None:
    install(_TORCHVISION)
    found = look_at_torchvision()
    assert found.state == "wrong"
    assert "0.28.0+cu130 (made for torch==2.13.0)" in found.found
    assert "RuntimeError: operator torchvision::nms does not exist" in found.found
    assert f"fits PyTorch {torch.__version__}" in found.way_out


def test_a_torchvision_without_its_operators_does_not_load(install: Install) -> None:
    install({"torchvision/__init__.py": '__version__ = "0.28.0"\n'})
    found = look_at_torchvision()
    assert found.state == "wrong"
    assert "nms" in found.found


def test_a_torchvision_with_its_operators_is_told_with_its_place(install: Install) -> None:
    folder = install({"torchvision/__init__.py": _OPERATORS})
    found = look_at_torchvision()
    assert (found.state, found.found) == ("ok", f"0.28.0 in {folder / 'torchvision'}")


def test_a_package_that_takes_its_process_with_it_takes_no_other(install: Install) -> None:
    install({"torchvision/__init__.py": "import os\nos.kill(os.getpid(), 11)\n"})
    found = look_at_torchvision()
    assert found.state == "wrong"
    assert "SIGSEGV" in found.found


def test_a_detectron2_that_loads_is_told_with_version_and_place(install: Install) -> None:
    folder = install(_DETECTRON2)
    found = look_at_detectron2()
    assert (found.state, found.found, found.way_out) == ("ok", f"0.6 in {folder / 'detectron2'}", "")


@pytest.mark.parametrize(
    ("changed", "state", "said", "way_out"),
    [
        (
            {"detectron2/modeling.py": "raise RuntimeError('operator torchvision::nms does not exist')"},
            *("wrong", "torchvision::nms", "mend torchvision"),
        ),
        (
            {"detectron2/modeling.py": "from PIL import Image\nImage.LINEAR"},
            *("warning", "'PIL.Image' has no attribute 'LINEAR'", "a newer detectron2"),
        ),
        (
            {"detectron2/_C.py": "raise ImportError('undefined symbol: _ZN3c10')"},
            *("warning", "detectron2._C, does not load: ImportError: undefined symbol", "build detectron2 again"),
        ),
        (
            {"detectron2/__init__.py": "import no_such_module"},
            *("wrong", "No module named 'no_such_module'", "install what it names"),
        ),
    ],
    ids=["torchvision", "pillow", "compiled part", "dependency"],
)
def test_a_detectron2_that_does_not_load_is_told_with_the_way_out(
    install: Install, changed: dict[str, str], state: str, said: str, way_out: str
) -> None:
    install(_DETECTRON2 | changed)
    found = look_at_detectron2()
    assert found.state == state
    assert said in found.found
    assert way_out in found.way_out


def test_the_folder_that_the_user_stands_in_is_not_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Install
) -> None:
    install(_DETECTRON2)
    (tmp_path / "json.py").write_text("raise RuntimeError('not meant')")
    monkeypatch.chdir(tmp_path)
    assert look_at_detectron2().state == "ok"
