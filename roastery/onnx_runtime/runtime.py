"""OnnxRuntime: runs a standard ONNX model in ONNX Runtime, on the CPU of this process."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from roastery.errors import ModelFileError, OnnxRuntimeUnavailable, OperatorError, RuntimeFailed
from roastery.onnx_messages import first_line
from roastery.onnx_runtime.files import StandardModel

# So that its warnings stay off the terminal: they go past Python. What it refuses, it raises.
_FATAL = 4


class OnnxRuntime:
    """An inference session. Runs from several threads do not disturb each other."""

    def __init__(self, model: StandardModel, threads: int | None = None, in_order: bool = False) -> None:
        """Start the session.

        Args:
            threads: how many an operator may take; None for as many as PyTorch takes, which heeds OMP_NUM_THREADS: a
                fleet shares the cores among its processes by it.
            in_order: run the nodes one by one as the file has them, and keep no memory that nothing lies in: slower,
                and for a model with an output for each layer a fraction of the memory.

        Raises:
            OnnxRuntimeUnavailable: the package is not installed.
            ModelFileError: ONNX Runtime refuses the model.
        """
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as state
        except ImportError as error:
            raise OnnxRuntimeUnavailable(
                f"ONNX Runtime cannot be imported ({first_line(error)}); install it with `pip install "
                "'roastery[onnxruntime]'`"
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
        if in_order:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
            options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        self._errors = _errors(state)
        self._inputs = frozenset(model.input_names)
        self._outputs = model.output_names
        try:
            self._session = onnxruntime.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])
        except self._errors as error:
            raise ModelFileError(f"ONNX Runtime refuses the model: {first_line(error)}") from error

    def run(self, inputs: Mapping[str, NDArray[Any]], fetch: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Run the model.

        Args:
            inputs: arrays by name, of the types and shapes that it takes; others than its own are passed over.
            fetch: the outputs to return (default: all). A session has no others.

        Returns:
            Arrays of their own by name.

        Raises:
            ModelFileError: an output to fetch that the model does not have; an input that is missing.
            OperatorError: an operator refused its inputs; its name is in the message.
            RuntimeFailed: ONNX Runtime refused the inputs, or failed.
        """
        names = list(self._outputs if fetch is None else fetch)
        for name in names:
            if name not in self._outputs:
                raise ModelFileError(f"the model has no output {name!r}; it has {', '.join(self._outputs)}")
        missing = sorted(self._inputs - inputs.keys())
        if missing:
            raise ModelFileError(f"the model needs {', '.join(map(repr, missing))}, which the caller did not give")
        given = {name: np.asarray(array, order="C") for name, array in inputs.items() if name in self._inputs}
        try:
            arrays = self._session.run(names, given)
        except self._errors as error:
            text = first_line(error)
            # It names the node where one refused what it was given.
            raise (OperatorError if "node" in text else RuntimeFailed)(f"ONNX Runtime: {text}") from error
        return dict(zip(names, arrays, strict=True))

    def close(self) -> None:
        """Nothing to end; the session goes with the object."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _errors(state: Any) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: classes of its own with nothing in common, and those of its bindings."""
    return (
        *(state.EPFail, state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf),
        *(state.NoSuchFile, state.NotImplemented, state.RuntimeException, RuntimeError, ValueError),
    )
