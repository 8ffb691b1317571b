"""Which versions a conversion was made with."""

import importlib.metadata
import platform

import roastery

PACKAGES = ("torch", "onnx", "onnxscript", "onnx-ir", "numpy", "pillow", "pycocotools", "protobuf")


def versions() -> dict[str, str]:
    """Of Roastery, Python and the packages that matter to a conversion, by name, without importing them."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"roastery": roastery.__version__, "python": platform.python_version(), **found}
