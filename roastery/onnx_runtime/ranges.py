"""How large a model's values are on the sampled images: what a value's 256 steps are laid over."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from roastery.onnx_runtime.scratch import scratch_runtime

_LEAST, _MOST = "least/", "most/"


@dataclass(frozen=True)
class Range:
    """A value's least and most: their means over the images that had any."""

    least: float
    most: float


def ranges(
    model: onnx.ModelProto, names: Sequence[str], sample: Iterable[Mapping[str, NDArray[Any]]]
) -> dict[str, Range]:
    """Run the sample once, a batch at a time; of every value two numbers are kept, and no map.

    A mean over images, because of one image the extreme is that image's.

    Args:
        names: values of the model, of float32.

    Returns:
        By name. Values of which no image had any are left out.

    Raises:
        RuntimeFailed, OperatorError: ONNX Runtime refused an image.
    """
    found = []
    with scratch_runtime(_with_extremes(model, names)) as runtime:
        for inputs in sample:
            extremes = runtime.run(inputs)
            found.append([[float(extremes[prefix + name]) for name in names] for prefix in (_LEAST, _MOST)])
    return dict(_averaged(names, np.array(found).reshape(len(found), 2, len(names))))


def _averaged(names: Sequence[str], found: NDArray[np.float64]) -> Iterator[tuple[str, Range]]:
    for name, least, most in zip(names, found[:, 0].T, found[:, 1].T, strict=True):
        # The least of no value is infinity (ONNX, opset 20).
        had_any = np.isfinite(least) & np.isfinite(most)
        if had_any.any():
            yield name, Range(float(least[had_any].mean()), float(most[had_any].mean()))


def _with_extremes(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model, with the least and the most of each value for outputs and no others."""
    augmented = onnx.ModelProto()
    augmented.CopyFrom(model)
    graph = augmented.graph
    del graph.output[:]
    for name in names:
        for prefix, reduce in ((_LEAST, "ReduceMin"), (_MOST, "ReduceMax")):
            graph.node.append(helper.make_node(reduce, [name], [prefix + name], keepdims=0))
            graph.output.append(helper.make_tensor_value_info(prefix + name, onnx.TensorProto.FLOAT, []))
    return augmented
