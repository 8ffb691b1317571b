"""Functions of each number, activations and powers, beside genuine Caffe2."""

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

pytestmark = [pytest.mark.caffe2, pytest.mark.xdist_group("operators")]

GENERATORS = st.integers(0, 2**32 - 1).map(np.random.default_rng)
# Longer than Caffe2's vectors of eight, and what is left of them.
SHAPES = st.lists(st.integers(0, 5), min_size=0, max_size=4) | st.lists(st.integers(15, 33), min_size=1, max_size=1)
# Beyond what exponentials of float32 bear.
LARGE = np.array([-1e4, -200, -89, -20, -12, 0, 12, 20, 89, 200, 1e4], np.float32)


def values(generator: np.random.Generator, shape: Any) -> np.ndarray:
    """Numbers of several sizes, zeros and large ones among them."""
    found = generator.normal(size=shape) * 10.0 ** generator.integers(-2, 2, shape)
    return np.array(np.where(generator.random(shape) < 0.1, generator.choice(LARGE, shape), found), np.float32)


def draw_values(draw: st.DrawFn, positive: bool = False) -> np.ndarray:
    """Of any shape, now and then of another type than float32; NaN is some functions' answer to a negative number."""
    x = values(draw(GENERATORS), draw(SHAPES))
    x = np.abs(x) + np.float32(0.01) if positive and draw(st.booleans()) else x
    dtype = draw(st.sampled_from([*[np.float32] * 40, np.float64, np.int32, np.int64, np.bool_]))
    return np.array(x, dtype)


@st.composite
def plain(draw: st.DrawFn, positive: bool = False) -> Any:
    return [draw_values(draw, positive)], {}, 1


@st.composite
def with_numbers(draw: st.DrawFn, *names: str) -> Any:
    """Each of the arguments or not."""
    numbers = {name: draw(st.sampled_from([0.0, 0.01, 0.25, 1.0, 2.5])) for name in names}
    return [draw_values(draw)], {name: number for name, number in numbers.items() if draw(st.booleans())}, 1


@st.composite
def selus(draw: st.DrawFn) -> Any:
    """A scale of 1 or less is refused."""
    (x,), arguments, _ = draw(with_numbers("alpha"))
    if draw(st.booleans()):
        arguments["scale"] = draw(st.sampled_from([*[1.25, 2.5] * 9, 1.0]))
    return [x], arguments, 1


@st.composite
def gelus(draw: st.DrawFn) -> Any:
    """Of a small number both have what is left of 1 - 1: a larger one beside it says how exact that is."""
    x = draw_values(draw)
    x.flat[:1] = 3
    return [x], draw(st.sampled_from([{}, {"fast_gelu": 0}, {"fast_gelu": 1}])), 1


@st.composite
def parametric_relus(draw: st.DrawFn) -> Any:
    """One slope or one a channel, in any shape; now and then others, or of no channels."""
    generator = draw(GENERATORS)
    shape = draw(st.lists(st.integers(1, 5), min_size=draw(st.sampled_from([1, *[2] * 20])), max_size=5))
    shape[0] = draw(st.integers(0, 3))
    channels = shape[1] if len(shape) > 1 else 1
    count = draw(st.sampled_from([*[(1,), (channels,), (channels, 1, 1)] * 6, (), (channels + 1,)]))
    return [values(generator, shape), values(generator, count)], {}, 1


@st.composite
def powers(draw: st.DrawFn) -> Any:
    """By a number, or by numbers: of one shape, fitted to some of the axes, or one for all."""
    base = draw_values(draw, positive=True)
    if draw(st.booleans()):
        return [base], {"exponent": draw(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.7, 2.0, 3.0]))}, 1
    generator, shape = draw(GENERATORS), base.shape
    kind = draw(st.sampled_from(["same", "suffix", "axis", "number"])) if base.ndim else "number"
    first = draw(st.integers(0, max(base.ndim - 1, 0)))
    others = {
        "same": shape,
        "suffix": shape[first:],
        "axis": shape[first : draw(st.integers(first + 1, max(base.ndim, first + 1)))],
        "number": draw(st.sampled_from([(), (1,)])) if base.ndim else (),
    }[kind]
    # Mostly said; where it is not, other shapes are refused.
    says = kind != "same" and draw(st.sampled_from([*[True] * 19, False]))
    arguments = {"broadcast": 1, **({"axis": first} if kind == "axis" else {})} if says else {}
    exponents = np.array(generator.choice([-1.5, -1.0, 0.0, 0.5, 1.0, 2.0, 2.5], others), base.dtype)
    return [base, exponents], arguments, 1


CASES = {
    **{name: plain() for name in ("Abs", "Erf", "Mish", "Negative", "Reciprocal", "Tanh")},
    **{name: plain(positive=True) for name in ("Log", "Sqrt")},
    "LeakyRelu": with_numbers("alpha"),
    "Elu": with_numbers("alpha"),
    "Selu": selus(),
    "HardSigmoid": with_numbers("alpha", "beta"),
    "Gelu": gelus(),
    "PRelu": parametric_relus(),
    "Pow": powers(),
}


@pytest.mark.parametrize("operator", CASES)
def test_it_gives_what_genuine_caffe2_gives(hold: Any, operator: str) -> None:
    hold(operator, CASES[operator])
