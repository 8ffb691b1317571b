"""detectron2 and its torchvision: neither is needed; where one is installed, it is told whether it loads."""

import re
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from roastery.doctor.child import ask
from roastery.doctor.finding import Finding

_VERSION = re.compile(r"^__version__ = ['\"]([\w.+-]{1,40})['\"]", re.MULTILINE)
_TORCHVISION = """
import json, torch, torchvision
torch.ops.torchvision.nms
print(json.dumps([torchvision.__version__, torchvision.__path__[0]]))
"""
_DETECTRON2 = """
import importlib, json, torch
def failure(name):
    try:
        importlib.import_module(name)
    except Exception as error:
        return f"{type(error).__name__}: {error}".strip().splitlines()[0]
import detectron2
answer = [str(getattr(detectron2, "__version__", "of no version")), detectron2.__path__[0]]
print(json.dumps([*answer, failure("detectron2._C"), failure("detectron2.modeling")]))
"""


def look_at_torchvision() -> Finding:
    """Whether an installed torchvision loads: one of another version or device than PyTorch's does not."""
    if find_spec("torchvision") is None:
        return Finding("torchvision", "missing", "not installed; Roastery does not need it")
    said = ask(_TORCHVISION)
    if not said.error:
        return Finding("torchvision", "ok", "{} in {}".format(*said.answer))
    return Finding(
        "torchvision",
        "wrong",
        f"{_build()}{_made_for()} does not load: {said.error}",
        f"install the build of torchvision that fits PyTorch {_told_version('torch')}, its version and its device "
        "(CPU or CUDA), or uninstall it: only detectron2 needs it",
    )


def look_at_detectron2() -> Finding:
    """An installed detectron2: its version and place, whether it imports, and whether its compiled part loads."""
    if find_spec("detectron2") is None:
        return Finding("detectron2", "missing", "not installed; configs and checkpoints are read without it")
    said = ask(_DETECTRON2)
    if said.error:
        return Finding("detectron2", "wrong", f"does not load: {said.error}", _WAY_OUT)
    release, place, compiled, modeling = said.answer
    found = f"{release} in {place}"
    if modeling and "PIL.Image" in modeling:
        return Finding(
            "detectron2",
            "warning",
            f"{found}: it asks Pillow {_told_version('pillow')} for a name that is gone: {modeling}",
            "a newer detectron2 does without the name, and Pillow before 10 has it; else it is imported only where "
            "something lends it the name",
        )
    if modeling:
        about_torchvision = "torchvision" in modeling
        way_out = "mend torchvision, which it needs" if about_torchvision else _WAY_OUT
        return Finding("detectron2", "wrong", f"{found} does not load: {modeling}", way_out)
    if compiled:
        return Finding(
            "detectron2",
            "warning",
            f"{found}: its compiled part, detectron2._C, does not load: {compiled}",
            f"build detectron2 again against PyTorch {_told_version('torch')}; deformable convolution and rotated "
            "boxes need it",
        )
    return Finding("detectron2", "ok", found)


_WAY_OUT = "install what it names, or build detectron2 again against this PyTorch; or uninstall it: it is not needed"


def _told_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of no version"


def _build() -> str:
    """Torchvision's version with the device that it was built for, as only a file of its own says: "0.28.0+cu130"."""
    spec = find_spec("torchvision")
    if spec is not None and spec.origin is not None:
        file = Path(spec.origin).with_name("version.py")
        told = _VERSION.search(file.read_text(errors="replace")) if file.is_file() else None
        if told:
            return told[1]
    return _told_version("torchvision")


def _made_for() -> str:
    """Of which PyTorch torchvision says that it is made for: "torch==2.13.0"."""
    try:
        asked = map(Requirement, requires("torchvision") or ())
    except PackageNotFoundError:
        return ""
    wanted = [str(each) for each in asked if each.name == "torch"]
    return f" (made for {wanted[0]})" if wanted else ""
