"""Reductions, products of matrices, layer and batch norms, beside genuine Caffe2."""

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

pytestmark = [pytest.mark.caffe2, pytest.mark.xdist_group("operators")]

GENERATORS = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def values(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.normal(size=shape).astype(np.float32)


# What is refused, for the most part.
SELDOM = st.sampled_from([*[False] * 24, True])


@st.composite
def reductions(draw: st.DrawFn, *types: type) -> Any:
    """Over some axes, counted from either side, or over all; of nothing too, and negative numbers alone."""
    shape = draw(st.lists(st.integers(0, 5) if draw(st.booleans()) else st.integers(1, 5), max_size=4))
    x = values(draw(GENERATORS), *shape) * 10
    if draw(st.booleans()):
        x = -np.abs(x) - 1
    # The last are refused.
    x = np.array(x, draw(st.sampled_from([*types * (40 // len(types)), np.bool_, np.uint8])))
    arguments: dict[str, Any] = {}
    if shape and draw(st.booleans()):
        axes = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
        arguments["axes"] = [axis - len(shape) * draw(st.integers(0, 1)) for axis in axes]
        if draw(SELDOM):
            arguments["axes"].append(len(shape))
    if draw(st.booleans()):
        arguments["keepdims"] = draw(st.integers(0, 1))
    return [x], arguments, 1


@st.composite
def products(draw: st.DrawFn) -> Any:
    """Of matrices in none to two axes, lying either way, broadcast or not; and of vectors."""
    generator = draw(GENERATORS)
    rows, inner, columns = draw(st.integers(0, 5)), draw(st.integers(1, 5)), draw(st.integers(0, 5))
    transposed = {name: draw(st.integers(0, 1)) for name in ("trans_a", "trans_b")}
    lead = draw(st.lists(st.integers(0, 3), max_size=2))
    leads = [lead, lead]
    arguments = {name: value for name, value in transposed.items() if value or draw(st.booleans())}
    if draw(st.booleans()):
        # Without it other axes before are refused.
        arguments["broadcast"] = 0 if draw(SELDOM) else 1
        other = [size if draw(st.booleans()) else 1 for size in lead]
        leads = [lead, other[draw(st.integers(0, len(other))) :]]
        if draw(st.booleans()):
            leads.reverse()
    a = [*leads[0], inner, rows] if transposed["trans_a"] else [*leads[0], rows, inner]
    b = [*leads[1], columns, inner] if transposed["trans_b"] else [*leads[1], inner, columns]
    # Of a vector with a matrix of no columns Caffe2 dies.
    if draw(st.integers(0, 5)) == 5 and 0 not in b:
        a = [inner]
    # Of a transposed matrix with a vector Caffe2 gives another shape than the product has.
    if draw(st.integers(0, 5)) == 5 and not transposed["trans_a"]:
        b = [inner]
    return [values(generator, *a), values(generator, *b)], arguments, 1


@st.composite
def layer_norms(draw: st.DrawFn) -> Any:
    """Over the axes from one on, with gamma and beta, without, or with such that do not count; of no rows too."""
    generator = draw(GENERATORS)
    shape = [draw(st.integers(0, 3)), *draw(st.lists(st.integers(2, 6), min_size=1, max_size=3))]
    axis = draw(st.integers(1, len(shape) - 1))
    # Of numbers that are nearly one there is nothing exact to normalise.
    x = generator.normal(draw(st.integers(-3, 3)), 1, shape) + 2 * np.arange(shape[-1])
    # The last is refused.
    inputs = [np.array(x, draw(st.sampled_from([*[np.float32] * 15, np.int32])))]
    arguments: dict[str, Any] = {"axis": axis - len(shape) * draw(st.integers(0, 1))} if axis > 1 else {}
    if draw(st.booleans()):
        arguments["epsilon"] = draw(st.sampled_from([1e-6, 1e-3, 0.1]))
    if draw(st.booleans()):
        size = int(np.prod(shape[axis:]))
        arguments["elementwise_affine"] = draw(st.integers(0, 1))
        sizes = shape[axis:] if draw(st.booleans()) else [size + draw(SELDOM)]
        inputs += [values(generator, *sizes), values(generator, *sizes)]
    return inputs, arguments, 3


@st.composite
def batch_norms(draw: st.DrawFn) -> Any:
    """Of rows, maps and volumes, none too; the parameters of another number of channels are refused."""
    generator, channels = draw(GENERATORS), draw(st.integers(1, 4))
    shape = [draw(st.integers(0, 3)), channels, *draw(st.lists(st.integers(0, 5), max_size=3))]
    if draw(SELDOM):
        shape = [channels]
    others = channels + draw(SELDOM)
    parameters = [values(generator, others) for _ in range(3)] + [np.abs(values(generator, others))]
    arguments: dict[str, Any] = {"is_test": 1}
    if draw(st.booleans()):
        arguments["epsilon"] = draw(st.sampled_from([1e-5, 1e-3, 0.1]))
    return [values(generator, *shape) * 3, *parameters], arguments, 1


CASES = {
    "ReduceMean": reductions(np.float32),
    **{
        name: reductions(np.float32, np.float32, np.float64, np.int32, np.int64)
        for name in ("ReduceSum", "ReduceMax", "ReduceMin")
    },
    "BatchMatMul": products(),
    "LayerNorm": layer_norms(),
    "SpatialBN": batch_norms(),
}


@pytest.mark.parametrize("operator", CASES)
def test_it_gives_what_genuine_caffe2_gives(hold: Any, operator: str) -> None:
    hold(operator, CASES[operator])
