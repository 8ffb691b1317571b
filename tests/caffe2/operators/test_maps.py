"""Convolutions, poolings, normalisation, resizing and padding of maps, beside genuine Caffe2."""

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

pytestmark = [pytest.mark.caffe2, pytest.mark.xdist_group("operators")]

GENERATORS = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def values(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.normal(size=shape).astype(np.float32)


@st.composite
def windows(draw: st.DrawFn, size: tuple[int, int], dilates: bool, pads_within: bool) -> tuple[Any, tuple[int, int]]:
    """A window's arguments, in one of Caffe2's ways to write them, that fits maps of that size; and its kernel."""
    height, width = size
    if draw(st.booleans()):
        side = draw(st.integers(1, min(height, width, 4)))
        stride, pad = draw(st.integers(1, 3)), draw(st.integers(0, side - 1 if pads_within else 2))
        written = {"kernel": side, "stride": stride, "pad": pad}
        return {name: written[name] for name in written if name == "kernel" or draw(st.booleans())}, (side, side)
    kernels = [draw(st.integers(1, min(height, 4))), draw(st.integers(1, min(width, 4)))]
    dilations = [1, 1]
    if dilates:
        dilations = [draw(st.integers(1, 2)) if (k - 1) * 2 < size[axis] else 1 for axis, k in enumerate(kernels)]
    most = [k - 1 if pads_within else 2 for k in kernels] * 2
    written = {
        "kernels": kernels,
        "strides": [draw(st.integers(1, 3)), draw(st.integers(1, 3))],
        "pads": [draw(st.integers(0, each)) for each in most],
    }
    if dilates:
        written["dilations"] = dilations
    return written, (kernels[0], kernels[1])


@st.composite
def convolutions(draw: st.DrawFn) -> Any:
    """Grouped, dilated, padded unevenly; with a bias or none; a batch of none to three maps."""
    generator, groups = draw(GENERATORS), draw(st.integers(1, 3))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    arguments, kernel = draw(windows((height, width), dilates=True, pads_within=False))
    channels, filters = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    inputs = [values(generator, draw(st.integers(0, 3)), channels, height, width)]
    inputs.append(values(generator, filters, channels // groups, *kernel))
    if draw(st.booleans()):
        inputs.append(values(generator, filters))
    return inputs, arguments | ({"group": groups} if groups > 1 else {}), 1


@st.composite
def transposed_convolutions(draw: st.DrawFn) -> Any:
    generator, groups = draw(GENERATORS), draw(st.integers(1, 2))
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    strides = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    arguments: dict[str, Any] = {"kernels": list(kernel), "strides": strides}
    # Some of the output has to be left.
    most = [min(2, (kernel[axis] - 1) // 2) for axis in (0, 1)] * 2
    arguments["pads"] = [draw(st.integers(0, each)) for each in most]
    if draw(st.booleans()):
        arguments["adjs"] = [draw(st.integers(0, stride - 1)) for stride in strides]
    channels, filters = groups * draw(st.integers(1, 3)), draw(st.integers(1, 3))
    inputs = [
        values(generator, draw(st.integers(0, 3)), channels, height, width),
        values(generator, channels, filters, *kernel),
    ]
    if draw(st.booleans()):
        inputs.append(values(generator, filters * groups))
    return inputs, arguments | ({"group": groups} if groups > 1 else {}), 1


@st.composite
def poolings(draw: st.DrawFn, averages: bool) -> Any:
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    x = values(draw(GENERATORS), draw(st.integers(0, 3)), draw(st.integers(1, 3)), height, width)
    if draw(st.integers(0, 5)) == 0:
        return [x], {"global_pooling": 1}, 1
    arguments, _ = draw(windows((height, width), dilates=False, pads_within=True))
    if averages and draw(st.booleans()):
        arguments["count_include_pad"] = 1
    return [x], arguments, 1


@st.composite
def group_norms(draw: st.DrawFn) -> Any:
    generator, groups = draw(GENERATORS), draw(st.integers(1, 4))
    channels = groups * draw(st.integers(1, 3))
    shape = (draw(st.integers(0, 3)), channels, draw(st.integers(1, 5)), draw(st.integers(2, 5)))
    x = generator.normal(draw(st.integers(-3, 3)), 1, shape).astype(np.float32)
    arguments: dict[str, Any] = {"group": groups}
    if draw(st.booleans()):
        arguments["epsilon"] = draw(st.sampled_from([1e-5, 1e-3, 0.1]))
    # `eps`, which the original wrote, is nothing to Caffe2.
    if draw(st.booleans()):
        arguments["eps"] = 0.5
    # Of no rows Caffe2 leaves the statistics unwritten.
    outputs = draw(st.sampled_from([1, 3])) if len(x) else 1
    return [x, values(generator, channels), values(generator, channels)], arguments, outputs


SCALES = st.sampled_from([0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 7.0])


@st.composite
def resizings(draw: st.DrawFn) -> Any:
    """By whole factors and by others, both axes apart, the scales as arguments or as a blob."""
    height, width = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    x = values(draw(GENERATORS), draw(st.integers(0, 3)), draw(st.integers(1, 3)), height, width)
    scales = [draw(SCALES), draw(SCALES)]
    if draw(st.booleans()):
        return [x], {"height_scale": scales[0], "width_scale": scales[1]}, 1
    return [x, np.array(scales, np.float32)], {}, 1


@st.composite
def upsamplings(draw: st.DrawFn) -> Any:
    x = values(draw(GENERATORS), draw(st.integers(1, 3)), *(draw(st.integers(1, 5)) for _ in range(3)))
    return [x], {"scale": draw(st.integers(1, 4))} if draw(st.booleans()) else {}, 1


@st.composite
def paddings(draw: st.DrawFn) -> Any:
    mode = draw(st.sampled_from(["constant", "edge", "reflect"]))
    height, width = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    x = values(draw(GENERATORS), draw(st.integers(0, 3)), draw(st.integers(1, 3)), height, width)
    most = [height - 1, width - 1] * 2 if mode == "reflect" else [3] * 4
    arguments: dict[str, Any] = {"pads": [draw(st.integers(0, each)) for each in most], "mode": mode}
    if mode == "constant" and draw(st.booleans()):
        arguments["value"] = draw(st.sampled_from([0.0, -1.5, 100.0]))
    return [x], arguments, 1


CASES = {
    "Conv": convolutions(),
    "ConvTranspose": transposed_convolutions(),
    "MaxPool": poolings(averages=False),
    "AveragePool": poolings(averages=True),
    "GroupNorm": group_norms(),
    "ResizeNearest": resizings(),
    "UpsampleBilinear": resizings(),
    "UpsampleNearest": upsamplings(),
    "PadImage": paddings(),
}


@pytest.mark.parametrize("operator", CASES)
def test_it_gives_what_genuine_caffe2_gives(hold: Any, operator: str) -> None:
    hold(operator, CASES[operator])
