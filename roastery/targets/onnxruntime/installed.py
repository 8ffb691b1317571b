"""Whether ONNX Runtime is installed, found out without importing it, which takes a second."""

from importlib.util import find_spec

from roastery.errors import OnnxRuntimeUnavailable


def require_onnxruntime(target: str) -> None:
    """Raises:
    OnnxRuntimeUnavailable: it is not installed.
    """
    if find_spec("onnxruntime") is None:
        raise OnnxRuntimeUnavailable(
            f"ONNX Runtime is not installed, which target {target} needs; install it with `pip install "
            "'roastery[onnxruntime]'`, or leave the target out"
        )
