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
    """Two inputs that numpy broadcasts, or that Caffe2's old rule does; one may be a number without axes."""
    generator, shape = draw(GENERATORS), draw(SHAPES)
    # The last two are refused.
    dtype = draw(st.sampled_from([*[np.float32] * 5, *[np.float64, np.int32, np.int64] * 3, np.uint8, np.bool_]))
    kind = draw(st.sampled_from(["same", "numpy", "number", "suffix", "axis", "scalar"]))
    if draw(st.integers(0, 5)) == 0:
        shape[draw(st.integers(0, len(shape) - 1))] = 0
    if kind == "same":
        others, arguments = shape, {}
    elif kind == "number":
        others, arguments = [], {"broadcast": 1} if draw(st.booleans()) else {}
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
    if np.dtype(dtype).kind == "i":
        # Not 0: genuine Caffe2 dies of a division by it.
        inputs = [generator.integers(1, 99, each.shape) * generator.choice([-1, 1], each.shape) for each in inputs]
    if kind in ("numpy", "number") and not arguments and draw(st.booleans()):
        inputs.reverse()
    return [np.array(each, dtype) for each in inputs], arguments, 1


def spoilt(draw: st.DrawFn, x: np.ndarray) -> np.ndarray:
    """Now and then of another type than float32."""
    return x.astype(draw(st.sampled_from([*[np.float32] * 30, np.float64, np.int32, np.int64])))


@st.composite
def single(draw: st.DrawFn) -> Any:
    """Of any shape, that of a number without axes too."""
    shape = draw(st.lists(st.integers(0, 5), min_size=0, max_size=4))
    return [spoilt(draw, values(draw(GENERATORS), shape))], {}, 1


@st.composite
def clippings(draw: st.DrawFn) -> Any:
    """With both bounds, one or none, the lower above the upper too; infinities and NaN among the numbers."""
    (x,), _, _ = draw(single())
    bounds = {name: draw(st.sampled_from([-30.0, -1.5, 0.0, 0.25, 4.0])) for name in ("min", "max")}
    if x.dtype == np.float32 and draw(st.booleans()):
        strange = draw(GENERATORS).choice([np.nan, np.inf, -np.inf, 1.0], x.shape).astype(np.float32)
        x = np.where(strange == 1, x, strange)
    return [x], {name: bound for name, bound in bounds.items() if draw(st.booleans())}, 1


@st.composite
def sums(draw: st.DrawFn) -> Any:
    generator, shape = draw(GENERATORS), draw(SHAPES)
    return [values(generator, shape) for _ in range(draw(st.integers(1, 4)))], {}, 1


@st.composite
def softmaxes(draw: st.DrawFn) -> Any:
    shape = draw(SHAPES)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    x = spoilt(draw, values(draw(GENERATORS), shape))
    return [x], {} if draw(st.booleans()) and len(shape) > 1 else {"axis": axis}, 1


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
    "Exp": single(),
    "Clip": clippings(),
    "Softmax": softmaxes(),
    "FC": fully_connected(),
}


@pytest.mark.parametrize("operator", CASES)
def test_it_gives_what_genuine_caffe2_gives(hold: Any, operator: str) -> None:
    hold(operator, CASES[operator])
