"""Roastery: detectron2 models to Caffe2 and ONNX Runtime, measured."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roastery.caffe2.model import Caffe2Model
    from roastery.config import load_config
    from roastery.onnx_runtime.model import OnnxModel
    from roastery.tracer import Caffe2Tracer

__version__ = "0.1.0"
__all__ = ["Caffe2Model", "Caffe2Tracer", "OnnxModel", "load_config"]

_HOMES = {
    "Caffe2Model": "roastery.caffe2.model",
    "Caffe2Tracer": "roastery.tracer",
    "OnnxModel": "roastery.onnx_runtime.model",
    "load_config": "roastery.config",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are used: the command line must not wait for torch to say its help."""
    if name not in _HOMES:
        raise AttributeError(f"module 'roastery' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
