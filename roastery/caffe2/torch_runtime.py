"""TorchRuntime: runs a NetDef on PyTorch kernels, in this process."""

from collections.abc import Mapping, Sequence, Set
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roastery.caffe2.devices import on_cpu
from roastery.caffe2.kernels.fills import FILLS
from roastery.caffe2.kernels.registry import Compute
from roastery.caffe2.nets import INIT_FILE, PREDICT_FILE, Nets
from roastery.caffe2.plan import Chain, Plan, Program, Step, compile_net
from roastery.errors import ModelFileError, OperatorError, RuntimeFailed, UnsupportedOperator

_PLANS_KEPT = 16
# Rows that a chain takes at once: of a mask head at full size about 20 detections.
_SLICE_BYTES = 4 * 2**20


class TorchRuntime:
    """Runs a converted model, ours or the original converter's, with Caffe2's semantics; a CUDA net on the CPU.

    The parameters are held once; a run holds each intermediate blob until its last use. Runs from several threads do
    not disturb each other.
    """

    def __init__(self, nets: Nets) -> None:
        """Fill the parameters and bind each operator to its kernel.

        Raises:
            UnsupportedOperator: operators without a kernel, all of them named.
            ModelFileError: a net that cannot run: a blob that nothing writes, an argument of the wrong type, ...
        """
        nets = Nets(on_cpu(nets.predict_net), nets.init_net)
        self._outputs = tuple(nets.predict_net.external_output)
        self._program = compile_net(nets.predict_net, PREDICT_FILE)
        self._parameters = _fill(nets, INIT_FILE)
        _lay_out_kernels(nets, self._parameters)
        self._plans: dict[tuple[str, ...], Plan] = {}

    def run(self, inputs: Mapping[str, NDArray[Any]], fetch: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Run the net.

        Args:
            inputs: arrays by blob name, of the types and shapes that the net takes.
            fetch: the blobs to return, intermediate ones too (default: the net's outputs). What they do not need is not
                run.

        Returns:
            Arrays of their own by blob name.

        Raises:
            ModelFileError: a blob to fetch that the net does not have; an input that is missing.
            OperatorError: an operator refused its inputs; its name, output and input shapes are in the message.
            RuntimeFailed: PyTorch refused them.
        """
        names = self._outputs if fetch is None else tuple(fetch)
        plan = self._plan(names)
        values: list[Tensor | None] = [None] * self._program.size
        for name, value in self._program.entries.items():
            if name in inputs:
                values[value] = _to_tensor(name, inputs[name])
            elif name in self._parameters:
                values[value] = self._parameters[name]
        with torch.inference_mode():
            for step in plan.steps:
                _run(step, values, self._program)
        return {name: self._to_array(name, values, plan.own) for name in names}

    def close(self) -> None:
        """Nothing to end; the parameters go with the object."""

    def __enter__(self) -> "TorchRuntime":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _plan(self, names: tuple[str, ...]) -> Plan:
        plan = self._plans.get(names)
        if plan is None:
            finals = self._program.finals
            for name in names:
                if name not in finals:
                    raise ModelFileError(f"{PREDICT_FILE} has no blob {name!r}")
            plan = self._program.plan([finals[name] for name in names])
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.pop(next(iter(self._plans)))
            self._plans[names] = plan
        return plan

    def _to_array(self, name: str, values: Sequence[Tensor | None], own: Set[int]) -> NDArray[Any]:
        value = self._program.finals[name]
        tensor = values[value]
        if tensor is None:
            raise _missing(f"the wanted blob {name!r}", [name])
        array: NDArray[Any] = tensor.numpy()
        # Nobody shall write through it to a parameter, an input or another output of which it is a view.
        return np.asarray(array, order="C") if value in own else np.array(array, order="C")


def _fill(nets: Nets, file: str) -> dict[str, Tensor]:
    """The parameters that the init net fills. Nothing else is run here: so they are no larger than the file."""
    program = compile_net(nets.init_net, file)
    others = sorted({operator.type for operator in nets.init_net.op} - FILLS)
    if others:
        raise UnsupportedOperator(
            f"{file}: the torch runtime only fills parameters with it, and {', '.join(map(repr, others[:20]))} is no "
            "fill; save the parameters as they are, or run the model with runtime caffe2"
        )
    values: list[Tensor | None] = [None] * program.size
    with torch.inference_mode():
        for step in program.plan(list(program.finals.values())).steps:
            _run(step, values, program)
    return {name: tensor for name, value in program.finals.items() if (tensor := values[value]) is not None}


def _lay_out_kernels(nets: Nets, parameters: dict[str, Tensor]) -> None:
    """Lay convolutions' weights out with the channels last: maps then follow, and a convolution is a third quicker."""
    for operator in nets.predict_net.op:
        if operator.type == "Conv" and (weight := parameters.get(operator.input[1])) is not None and weight.ndim == 4:
            parameters[operator.input[1]] = weight.contiguous(memory_format=torch.channels_last)


def _run(step: Step | Chain, values: list[Tensor | None], program: Program) -> None:
    if isinstance(step, Chain):
        _run_chain(step, values, program)
    else:
        _run_step(step, values, program)


def _run_chain(chain: Chain, values: list[Tensor | None], program: Program) -> None:
    """Some rows at a time, so that what is between the steps is small: in the cache, and never all there at once."""
    first, last = chain.steps[0].inputs[0], chain.steps[-1].outputs[0]
    x = values[first]
    parts = (x,) if x is None else _slices(x)
    whole, start = None, 0
    for part in parts:
        values[first] = part
        for step in chain.steps:
            _run_step(step, values, program)
        y = values[last]
        if x is not None and y is not None and len(parts) > 1:
            if whole is None:
                # A caller gets it in the order of its axes.
                whole = y.new_empty((len(x), *y.shape[1:])) if chain.wanted else _empty_like(y, len(x))
            whole[start : start + len(y)] = y
            start += len(y)
            values[last] = whole
    values[first] = x
    for value in chain.frees:
        values[value] = None


def _slices(x: Tensor) -> Sequence[Tensor]:
    if x.ndim == 0 or x.nbytes <= _SLICE_BYTES:
        return (x,)
    return torch.split(x, max(1, _SLICE_BYTES * len(x) // x.nbytes))


def _empty_like(part: Tensor, rows: int) -> Tensor:
    """With so many rows, in the layout of the part."""
    last = part.ndim == 4 and part.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty((rows, *part.shape[1:]), dtype=part.dtype, memory_format=layout)


def _run_step(step: Step, values: list[Tensor | None], program: Program) -> None:
    inputs = [values[value] for value in step.inputs]
    if any(tensor is None for tensor in inputs):
        names = {value: name for name, value in program.entries.items()}
        raise _missing(step.label, [names[v] for v in step.inputs if values[v] is None])
    outputs = _compute(step.label, step.compute, [tensor for tensor in inputs if tensor is not None])
    for value, tensor in zip(step.outputs, outputs, strict=False):
        values[value] = tensor
    for value in step.frees:
        values[value] = None


def _compute(label: str, compute: Compute, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    try:
        return compute(*inputs)
    except OperatorError as error:
        raise OperatorError(f"{label}: {error}; inputs {_shapes(inputs)}") from error
    except (RuntimeError, ValueError, IndexError, TypeError, OverflowError) as error:
        # PyTorch's message may go on with a C++ stack.
        reason = str(error).split("\n", maxsplit=1)[0]
        raise RuntimeFailed(f"{label}: {reason}; inputs {_shapes(inputs)}") from error


def _shapes(inputs: Sequence[Tensor]) -> str:
    return ", ".join(f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}" for tensor in inputs) or "none"


def _to_tensor(name: str, array: NDArray[Any]) -> Tensor:
    try:
        # Not ascontiguousarray, which makes a vector of a single number.
        contiguous = np.asarray(array, order="C")
        # torch warns of arrays that cannot be written to; nothing here writes to an input.
        return torch.from_numpy(contiguous if contiguous.flags.writeable else contiguous.copy())
    except TypeError as error:
        raise RuntimeFailed(f"input {name!r}: {error}") from error


def _missing(reader: str, names: Sequence[str]) -> ModelFileError:
    blobs = ", ".join(repr(name) for name in names)
    return ModelFileError(f"{reader} needs blob {blobs}, which neither {INIT_FILE} fills nor the caller gave")
