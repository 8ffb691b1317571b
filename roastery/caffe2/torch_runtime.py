"""TorchRuntime: runs a NetDef on PyTorch kernels, in this process."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Graph, GraphModule

from roastery.caffe2.devices import on_cpu
from roastery.caffe2.kernels.fills import FILLS
from roastery.caffe2.nets import INIT_FILE, PREDICT_FILE, Nets
from roastery.caffe2.operation import Operation
from roastery.caffe2.program import Compiled, compile_net
from roastery.caffe2.threads import threads_of_run
from roastery.errors import ConfigError, ModelFileError, RuntimeFailed, UnsupportedOperator

_COMPILED_KEPT = 16


class TorchRuntime:
    """Runs a converted model, ours or the original converter's, with Caffe2's semantics; a CUDA net on the CPU.

    The net is compiled to a graph module of torch.fx, once for each set of blobs that is asked for: `code` and `graph`
    are those of the net's outputs, to read. The parameters are held once; a run holds each intermediate blob until its
    last use. Runs from several threads do not disturb each other.

    Examples:
        >>> print(TorchRuntime(nets).code)  # doctest: +SKIP
        def forward(self, blob_data, blob_im_info):
            ...
    """

    def __init__(self, nets: Nets, threads: int | None = None) -> None:
        """Fill the parameters and bind each operator to its kernel.

        Args:
            threads: how many a run takes, 1 or more; None for PyTorch's own setting. It is put back after a run.

        Raises:
            UnsupportedOperator: operators without a kernel, all of them named.
            ModelFileError: a net that cannot run: a blob that nothing writes, an argument of the wrong type, ...
            ConfigError: `threads` is less than 1.
        """
        if threads is not None and threads < 1:
            raise ConfigError(f"threads is {threads}, and a run takes 1 or more; None leaves PyTorch's own setting")
        nets = Nets(on_cpu(nets.predict_net), nets.init_net)
        self._threads = threads
        self._outputs = tuple(nets.predict_net.external_output)
        self._program = compile_net(nets.predict_net, PREDICT_FILE)
        self._parameters = _fill(nets, INIT_FILE)
        _lay_out_kernels(nets, self._parameters)
        self._compiled: dict[tuple[tuple[str, ...], tuple[str, ...]], Compiled] = {}

    @property
    def graph(self) -> Graph:
        """The graph of the net's outputs: a node for each operator, or several done together."""
        return self.module().graph

    @property
    def code(self) -> str:
        """The Python that torch.fx makes of the graph, and that is run."""
        return self.module().code

    def module(self, fetch: Sequence[str] | None = None) -> GraphModule:
        """What runs for these blobs (default: the net's outputs), given all that no parameter is."""
        given = tuple(name for name in self._program.entries if name not in self._parameters)
        return self._compile(self._outputs if fetch is None else tuple(fetch), given).module

    def run(self, inputs: Mapping[str, NDArray[Any]], fetch: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Run the net.

        Args:
            inputs: arrays by blob name, of the types and shapes that the net takes.
            fetch: the blobs to return, intermediate ones too (default: the net's outputs). What they do not need is not
                run.

        Returns:
            Arrays of their own by blob name. Maps may lie with their channels last, as their strides say: turning a
            RetinaNet's would take a twentieth of the run.

        Raises:
            ModelFileError: a blob to fetch that the net does not have; an input that is missing.
            OperatorError: an operator refused its inputs; its name, output and input shapes are in the message.
            RuntimeFailed: PyTorch refused them.
        """
        names = self._outputs if fetch is None else tuple(fetch)
        given = tuple(name for name in self._program.entries if name in inputs)
        compiled = self._compile(names, given)
        tensors = [_to_tensor(name, inputs[name]) for name in given]
        with threads_of_run(self._threads), torch.inference_mode():
            results = compiled.module(*tensors)
            return {
                name: _to_array(tensor, own) for name, tensor, own in zip(names, results, compiled.own, strict=True)
            }

    def close(self) -> None:
        """Nothing to end; the parameters go with the object."""

    def __enter__(self) -> "TorchRuntime":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _compile(self, names: tuple[str, ...], given: tuple[str, ...]) -> Compiled:
        compiled = self._compiled.get((names, given))
        if compiled is None:
            for name in names:
                if name not in self._program.finals:
                    raise ModelFileError(f"{PREDICT_FILE} has no blob {name!r}")
            compiled = self._program.compile(names, given, self._parameters)
            if len(self._compiled) >= _COMPILED_KEPT:
                self._compiled.pop(next(iter(self._compiled)))
            self._compiled[names, given] = compiled
        return compiled


def _fill(nets: Nets, file: str) -> dict[str, Tensor]:
    """The parameters that the init net fills. Nothing else is run here: so they are no larger than the file."""
    program = compile_net(nets.init_net, file)
    others = sorted({operator.type for operator in nets.init_net.op} - FILLS)
    if others:
        raise UnsupportedOperator(
            f"{file}: the torch runtime only fills parameters with it, and {', '.join(map(repr, others[:20]))} is no "
            "fill; save the parameters as they are, or run the model with runtime caffe2"
        )
    # A fill reads nothing and gives one blob.
    return {line.blobs[0]: Operation(line.bound)() for line in program.lines}


def _lay_out_kernels(nets: Nets, parameters: dict[str, Tensor]) -> None:
    """Lay convolutions' weights out with the channels last: maps then follow, and a convolution is a third quicker."""
    for operator in nets.predict_net.op:
        if operator.type == "Conv" and (weight := parameters.get(operator.input[1])) is not None and weight.ndim == 4:
            parameters[operator.input[1]] = weight.contiguous(memory_format=torch.channels_last)


def _to_array(tensor: Tensor, own: bool) -> NDArray[Any]:
    array: NDArray[Any] = tensor.numpy()
    # Nobody shall write through it to a parameter, an input or another output of which it is a view.
    return array if own else array.copy(order="K")


def _to_tensor(name: str, array: NDArray[Any]) -> Tensor:
    try:
        # Not ascontiguousarray, which makes a vector of a single number.
        contiguous = np.asarray(array, order="C")
        # torch warns of arrays that cannot be written to; nothing here writes to an input.
        return torch.from_numpy(contiguous if contiguous.flags.writeable else contiguous.copy())
    except TypeError as error:
        raise RuntimeFailed(f"input {name!r}: {error}") from error
