"""Whether ONNX Runtime is installed, found out without importing it, which takes a second."""

from importlib.util import find_spec

from roastery.errors import OnnxRuntimeUnavailable


def require_onnxruntime() -> None:
    """Raises:
    OnnxRuntimeUnavailable: it is not installed.
    """
    if find_spec("onnxruntime") is None:
        raise OnnxRuntimeUnavailable(
            "ONNX Runtime is not installed, which target onnxruntime needs; install it with `pip install "
            "'roastery[onnxruntime]'`, or leave the target out"
        )
