"""Genuine Caffe2: whether it is there, and which one, without starting it."""

from functools import cache
from pathlib import Path


def require_caffe2() -> None:
    """Raises:
    Caffe2Unavailable: it is not there.
    """
    _interpreter()


def caffe2_identity() -> str:
    """Which genuine Caffe2: the version of the PyTorch that holds it.

    Raises:
        Caffe2Unavailable: it is not there.
    """
    return _torch_version(_interpreter())


def _interpreter() -> Path:
    from roastery.caffe2.caffe2_runtime import find_caffe2_python

    return find_caffe2_python()


@cache
def _torch_version(python: Path) -> str:
    for prefix in (python.parent.parent, python.resolve().parent.parent):
        for found in sorted(prefix.glob("lib/python3.*/site-packages/torch-*.dist-info")):
            return found.name.removeprefix("torch-").removesuffix(".dist-info")
    return "unknown"
