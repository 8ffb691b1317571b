"""How large a model's values are on the sampled images: what a value's 256 steps are laid over."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper

from roastery.onnx_runtime.scratch import in_place, scratch_runtime

_LEAST, _MOST = "least/", "most/"
_REDUCTIONS = ((_LEAST, "ReduceMin"), (_MOST, "ReduceMax"))


@dataclass(frozen=True)
class Range:
    """A value's least and most."""

    least: float
    most: float


def ranges(
    model: onnx.ModelProto, names: Sequence[str], sample: Iterable[Mapping[str, NDArray[Any]]]
) -> dict[str, Range]:
    """Run the sample once, a batch at a time; of every value two numbers are kept, and no map.

    Args:
        names: values of the model, of float32.

    Returns:
        By name. Values of which no image had any are left out.

    Raises:
        RuntimeFailed, OperatorError: ONNX Runtime refused an image.
    """
    least, most = dict.fromkeys(names, inf), dict.fromkeys(names, -inf)
    with scratch_runtime(_with_extremes(model, names)) as runtime:
        for inputs in sample:
            found = runtime.run(inputs)
            for name in names:
                # Of no value they are infinite, the other way round (ONNX, opset 20).
                least[name] = min(least[name], float(found[_LEAST + name]))
                most[name] = max(most[name], float(found[_MOST + name]))
    return {name: Range(least[name], most[name]) for name in names if isfinite(least[name]) and isfinite(most[name])}


def _with_extremes(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model, with the least and the most of each value for outputs and no others."""
    extremes = [(prefix, reduce, name) for name in names for prefix, reduce in _REDUCTIONS]
    augmented = in_place(
        model,
        (helper.make_node(reduce, [name], [prefix + name], keepdims=0) for prefix, reduce, name in extremes),
    )
    for prefix, _, name in extremes:
        augmented.graph.output.append(helper.make_tensor_value_info(prefix + name, onnx.TensorProto.FLOAT, []))
    return augmented
