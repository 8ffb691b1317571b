"""Element by element, Softmax and FC, beside genuine Caffe2."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

pytestmark = [pytest.mark.caffe2, pytest.mark.xdist_group("operators")]

GENERATORS = st.integers(0, 2**32 - 1).map(np.random.default_rng)
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def values(generator: np.random.Generator, shape: Any) -> np.ndarray:
    """Numbers of several sizes, zeros among them."""
    found = generator.normal(size=shape) * 10.0 ** generator.integers(-2, 3, shape)
    return np.where(generator.random(shape) < 0.05, 0, found).astype(np.float32)


@st.composite
def pairs(draw: st.DrawFn) -> Any:
    """Two inputs that numpy broadcasts, or that Caffe2's old rule does, of either type."""
    generator, shape = draw(GENERATORS), draw(SHAPES)
    whole = draw(st.booleans())
    kind = draw(st.sampled_from(["same", "numpy", "suffix", "axis", "scalar"]))
    if kind == "same":
        others, arguments = shape, {}
    elif kind == "numpy":
        kept = [size if draw(st.booleans()) else 1 for size in shape]
        others, arguments = kept[draw(st.integers(0, len(shape) - 1)) :], {}
    elif kind == "scalar":
        others, arguments = [1], {"broadcast": 1}
    else:
        first = draw(st.integers(0, len(shape) - 1))
        last = len(shape) if kind == "suffix" else draw(st.integers(first + 1, len(shape)))
        others, arguments = shape[first:last], {"broadcast": 1, **({} if kind == "suffix" else {"axis": first})}
    inputs = [values(generator, shape), values(generator, others)]
    if whole:
        inputs = [generator.integers(1, 9, each.shape).astype(np.int32) for each in inputs]
    elif kind == "numpy" and draw(st.booleans()):
        inputs.reverse()
    return inputs, arguments, 1


@st.composite
def single(draw: st.DrawFn) -> Any:
    shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    return [values(draw(GENERATORS), shape)], {}, 1


@st.composite
def sums(draw: st.DrawFn) -> Any:
    generator, shape = draw(GENERATORS), draw(SHAPES)
    return [values(generator, shape) for _ in range(draw(st.integers(1, 4)))], {}, 1


@st.composite
def softmaxes(draw: st.DrawFn) -> Any:
    shape = draw(SHAPES)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    if draw(st.booleans()) and len(shape) > 1:
        return [values(draw(GENERATORS), shape)], {}, 1
    return [values(draw(GENERATORS), shape)], {"axis": axis}, 1


@st.composite
def fully_connected(draw: st.DrawFn) -> Any:
    """Rows of any number, none too; of inputs with several axes."""
    generator, width = draw(GENERATORS), draw(st.integers(1, 6))
    lead = draw(st.lists(st.integers(0, 4), min_size=1, max_size=2))
    tail = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    weight = values(generator, (width, math.prod(tail)))
    arguments = {"axis": len(lead)} if len(lead) > 1 or draw(st.booleans()) else {}
    return [values(generator, (*lead, *tail)), weight, values(generator, (width,))], arguments, 1


CASES = {
    **{name: pairs() for name in ("Add", "Sub", "Mul", "Div")},
    "Sum": sums(),
    "Relu": single(),
    "Sigmoid": single(),
    "Softmax": softmaxes(),
    "FC": fully_connected(),
}


@pytest.mark.parametrize("operator", CASES)
def test_it_gives_what_genuine_caffe2_gives(hold: Any, operator: str) -> None:
    hold(operator, CASES[operator])
