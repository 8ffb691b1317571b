"""A session of a model that is made for a measurement and goes into no file."""

import onnx

from roastery.onnx_runtime.files import StandardModel
from roastery.onnx_runtime.runtime import OnnxRuntime


def scratch_runtime(model: onnx.ModelProto) -> OnnxRuntime:
    """A session of a model that this process has made itself, of one that was checked.

    Raises:
        OnnxRuntimeUnavailable: the package is not installed.
        ModelFileError: ONNX Runtime refuses the model.
    """
    parameters = {tensor.name for tensor in model.graph.initializer}
    return OnnxRuntime(
        StandardModel(
            model.SerializeToString(),
            {},
            tuple(value.name for value in model.graph.input if value.name not in parameters),
            tuple(value.name for value in model.graph.output),
        )
    )
