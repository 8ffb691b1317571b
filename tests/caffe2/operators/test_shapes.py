"""What moves numbers and changes none, and fills, beside genuine Caffe2."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

pytestmark = [pytest.mark.caffe2, pytest.mark.xdist_group("operators")]

GENERATORS = st.integers(0, 2**32 - 1).map(np.random.default_rng)
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4)
TYPES = (np.float32, np.int32, np.int64, np.uint8)


def numbers(generator: np.random.Generator, shape: Any, dtype: Any = np.float32) -> np.ndarray:
    return generator.integers(-90 if np.dtype(dtype).kind != "u" else 0, 90, shape).astype(dtype)


@st.composite
def copies(draw: st.DrawFn, **arguments: Any) -> Any:
    shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    return [numbers(draw(GENERATORS), shape, draw(st.sampled_from(TYPES)))], arguments, 1


@st.composite
def concatenations(draw: st.DrawFn) -> Any:
    """Parts of any length along the axis, none too."""
    generator, shape, dtype = draw(GENERATORS), draw(SHAPES), draw(st.sampled_from(TYPES[:3]))
    axis = draw(st.integers(0, len(shape) - 1))
    parts = []
    add_axis = draw(st.booleans())
    for _ in range(draw(st.integers(1, 4))):
        size = shape[axis] if add_axis else draw(st.integers(0, 4))
        parts.append(numbers(generator, [*shape[:axis], size, *shape[axis + 1 :]], dtype))
    arguments = {} if axis == 1 and draw(st.booleans()) else {"axis": axis}
    if arguments and draw(st.booleans()):
        arguments["axis"] -= len(shape) + add_axis
    return parts, arguments | ({"add_axis": 1} if add_axis else {}), 2


@st.composite
def splits(draw: st.DrawFn) -> Any:
    generator, shape = draw(GENERATORS), draw(SHAPES)
    axis = draw(st.integers(0, len(shape) - 1))
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    if draw(st.booleans()):
        sizes = sizes[:1] * len(sizes)
        arguments: dict[str, Any] = {"axis": axis}
    else:
        arguments = {"axis": axis, "split": sizes}
    shape[axis] = sum(sizes)
    return [numbers(generator, shape)], arguments, len(sizes)


@st.composite
def slices(draw: st.DrawFn) -> Any:
    """One axis cut, from either end; the rest whole."""
    shape = draw(SHAPES)
    axis = draw(st.integers(0, len(shape) - 1))
    first = draw(st.integers(0, shape[axis] - 1))
    last = draw(st.integers(first + 1, shape[axis]))
    starts, ends = [0] * len(shape), [-1] * len(shape)
    starts[axis] = first
    ends[axis] = last - shape[axis] - 1 if draw(st.booleans()) else last
    return [numbers(draw(GENERATORS), shape)], {"starts": starts, "ends": ends}, 1


@st.composite
def flattenings(draw: st.DrawFn) -> Any:
    shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    axis = draw(st.integers(0, len(shape)))
    return [numbers(draw(GENERATORS), shape)], {} if axis == 1 and draw(st.booleans()) else {"axis": axis}, 1


@st.composite
def reshapings(draw: st.DrawFn) -> Any:
    """Axes joined, one kept by 0, one left to be worked out."""
    shape = draw(SHAPES)
    cut = draw(st.integers(0, len(shape)))
    target = [math.prod(shape[:cut]), math.prod(shape[cut:])]
    if draw(st.booleans()):
        target[draw(st.integers(0, 1))] = -1
    elif cut == 1:
        target[0] = 0
    x = numbers(draw(GENERATORS), shape)
    if draw(st.booleans()):
        return [x], {"shape": target}, 2
    return [x, np.array(target, np.int64)], {}, 2


@st.composite
def transpositions(draw: st.DrawFn) -> Any:
    shape = draw(SHAPES)
    axes = draw(st.permutations(range(len(shape))))
    return [numbers(draw(GENERATORS), shape)], {"axes": axes} if draw(st.booleans()) else {}, 1


@st.composite
def squeezings(draw: st.DrawFn) -> Any:
    shape = draw(SHAPES)
    dims = sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    for axis in dims:
        shape[axis] = 1
    return [numbers(draw(GENERATORS), shape)], {"dims": dims}, 1


@st.composite
def expansions(draw: st.DrawFn) -> Any:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    dims = sorted(draw(st.sets(st.integers(0, len(shape)), min_size=1, max_size=2)))
    return [numbers(draw(GENERATORS), shape)], {"dims": dims}, 1


@st.composite
def casts(draw: st.DrawFn) -> Any:
    """Between the types that Caffe2 casts, by number and by name; fractions go towards zero."""
    shape = draw(SHAPES)
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int32, np.int64]))
    x = draw(GENERATORS).uniform(-90, 90, shape).astype(dtype)
    to = draw(st.sampled_from([(1, "float"), (2, "int32"), (10, "int64"), (13, "double")]))
    return [x], {"to": draw(st.sampled_from(to))}, 1


@st.composite
def fills(draw: st.DrawFn, kind: str) -> Any:
    shape = draw(st.lists(st.integers(0, 4), min_size=0, max_size=4))
    generator = draw(GENERATORS)
    size = math.prod(shape)
    if kind == "float":
        given: list[Any] = [float(each) for each in generator.normal(size=size).astype(np.float32)]
    else:
        least, most = {"bool": (0, 2), "int32": (-(2**31), 2**31), "int64": (-(2**63), 2**63 - 1)}[kind]
        given = [int(each) for each in generator.integers(least, most, size)]
    return [], {"shape": shape, "values": given}, 1


CASES = {
    "Copy": copies(),
    "Alias": copies(),
    "AliasWithName": copies(name="another"),
    "StopGradient": copies(),
    "EnsureCPUOutput": copies(),
    "EnsureDense": copies(),
    "Concat": concatenations(),
    "Split": splits(),
    "Slice": slices(),
    "Flatten": flattenings(),
    "Reshape": reshapings(),
    "Transpose": transpositions(),
    "Squeeze": squeezings(),
    "ExpandDims": expansions(),
    "Cast": casts(),
    "GivenTensorFill": fills("float"),
    "GivenTensorDoubleFill": fills("float"),
    "GivenTensorIntFill": fills("int32"),
    "GivenTensorInt64Fill": fills("int64"),
    "GivenTensorBoolFill": fills("bool"),
}


@pytest.mark.parametrize("operator", CASES)
def test_it_gives_what_genuine_caffe2_gives(hold: Any, operator: str) -> None:
    hold(operator, CASES[operator])
