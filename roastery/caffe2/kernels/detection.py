"""Kernels of the detection operators, from their one definition in `roastery.ops`."""

import inspect
from typing import Any

from torch import Tensor

from roastery.caffe2.arguments import Arguments
from roastery.caffe2.kernels.registry import ANY, Compute, Into, Kernel
from roastery.errors import ModelFileError, OperatorError
from roastery.ops import roi_align
from roastery.ops.definition import Operator, operators
from roastery.ops.roi_align import pool_into


def detection_kernels() -> dict[str, Kernel]:
    """A kernel for every operator of `roastery.ops`, by its Caffe2 type."""
    return {name: _kernel(defined) for name, defined in operators().items()}


def _kernel(defined: Operator) -> Kernel:
    parameters = [p for p in inspect.signature(defined.kernel).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    needed = sum(p.default is p.empty for p in parameters)
    inputs = (1, ANY) if defined.takes_list else (needed, len(parameters))
    outputs = (1, ANY) if defined.output_count else (1, len(defined.outputs))

    def build(arguments: Arguments) -> Compute:
        values = _read(defined, arguments)
        if arguments.output_count > defined.count_outputs(values):
            raise ModelFileError(
                f"{arguments.owner} has {arguments.output_count} outputs where its arguments "
                f"give {defined.count_outputs(values)}"
            )
        kernel = defined.kernel

        def compute(*inputs: Tensor) -> tuple[Tensor, ...]:
            given: Any = [list(inputs)] if defined.takes_list else inputs
            result = kernel(*given, **values)
            return (result,) if isinstance(result, Tensor) else tuple(result)

        return compute

    # A kernel may return an input as it is where there is nothing to do.
    return Kernel(build, inputs, outputs, fresh=False, into=_roi_align_into if defined is roi_align else None)


def _roi_align_into(arguments: Arguments) -> Into:
    values = _read(roi_align, arguments)

    def into(whole: Tensor | None, places: Tensor, start: int, x: Tensor, rois: Tensor) -> tuple[Tensor, int]:
        stop = start + len(rois)
        if stop > len(places):
            raise OperatorError(f"BatchPermutation: {len(places)} indices for {stop} rows or more")
        return pool_into(whole, places[start:stop], len(places), x, rois, **values), stop

    return into


def _read(defined: Operator, arguments: Arguments) -> dict[str, Any]:
    readers: dict[Any, Any] = {
        int: arguments.integer,
        bool: arguments.flag,
        float: arguments.number,
        str: arguments.text,
        list[float]: arguments.numbers,
        list[int]: arguments.integers,
    }
    return {a.name: readers[a.type](a.name, a.default) for a in defined.arguments.values()}
