"""Caffe2's standard operators, each as a net of one, on the cases that genuine Caffe2 answered."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.nets import Nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.errors import OperatorError, RuntimeFailed

FOLDER = Path(__file__).parent.parent / "golden" / "ops"
STANDARD = (
    "AveragePool",
    "Conv",
    "ConvTranspose",
    "FC",
    "GroupNorm",
    "MaxPool",
    "ResizeNearest",
    "Softmax",
    "UpsampleBilinear",
)
CASES = [case for name in STANDARD for case in json.loads((FOLDER / "cases.json").read_text())[name]]
IDS = [f"{case['op']}-{case['case']}" for case in CASES]

MakeNets = Callable[..., Nets]


def one_operator(make_nets: MakeNets, case: dict[str, Any]) -> tuple[Nets, dict[str, NDArray[Any]], list[Any]]:
    arrays = np.load(FOLDER / case["op"] / f"{case['case']}.npz")
    inputs = {f"in{i}": arrays[f"in{i}"] for i in range(case["n_in"])}
    outputs = [f"out{i}" for i in range(case["n_out"])]
    nets = make_nets([(case["op"], list(inputs), outputs, case["args"])], list(inputs), outputs)
    return nets, inputs, [arrays[name] for name in outputs if name in arrays.files]


def check(actual: dict[str, NDArray[Any]], expected: list[NDArray[Any]], case: dict[str, Any]) -> None:
    assert len(expected) == case["n_out"]
    for i, array in enumerate(expected):
        assert actual[f"out{i}"].dtype == array.dtype
        np.testing.assert_allclose(actual[f"out{i}"], array, rtol=1e-4, atol=1e-4 * float(np.abs(array).max(initial=0)))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_torch_runtime_gives_what_genuine_caffe2_gave(make_nets: MakeNets, case: dict[str, Any]) -> None:
    nets, inputs, expected = one_operator(make_nets, case)
    runtime = TorchRuntime(nets)
    if "error" in case:
        with pytest.raises(OperatorError, match=f"{case['op']} giving 'out0'"):
            runtime.run(inputs)
    else:
        check(runtime.run(inputs), expected, case)


@pytest.mark.caffe2
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_genuine_caffe2_gives_what_it_gave(make_nets: MakeNets, case: dict[str, Any]) -> None:
    nets, inputs, expected = one_operator(make_nets, case)
    with Caffe2Runtime(nets) as runtime:
        if "error" in case:
            with pytest.raises(RuntimeFailed, match="genuine Caffe2 failed"):
                runtime.run(inputs)
        else:
            check(runtime.run(inputs), expected, case)
