"""Every operator on the cases that genuine Caffe2 answered: same values, order, types, shapes and refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import roastery.ops  # noqa: F401  (defines the operators)
from roastery.errors import OperatorError
from roastery.ops.definition import Operator, operators

FOLDER = Path(__file__).parent.parent / "golden" / "ops"
# The detection operators. The others (Conv, FC, ...) are PyTorch's own, and the torch runtime's tests run them.
DETECTION = (
    "BBoxTransform",
    "BatchPermutation",
    "BoxWithNMSLimit",
    "CollectRpnProposals",
    "DistributeFpnProposals",
    "GenerateProposals",
    "HeatmapMaxKeypoint",
    "RoIAlign",
)
# Genuine Caffe2 answers this with what lay in foreign memory; the golden README says so.
READS_FOREIGN_MEMORY = {("BatchPermutation", "bad_index")}


def load_cases() -> list[dict[str, Any]]:
    by_operator = json.loads((FOLDER / "cases.json").read_text())
    return [case for name in DETECTION for case in by_operator[name]]


CASES = load_cases()


def arguments_of(operator: Operator, case: dict[str, Any]) -> dict[str, Any]:
    kinds = {name: argument.type for name, argument in operator.arguments.items()}
    return {name: kinds[name](value) if kinds[name] is bool else value for name, value in case["args"].items()}


def run(case: dict[str, Any]) -> tuple[tuple[torch.Tensor, ...], list[np.ndarray]]:
    arrays = np.load(FOLDER / case["op"] / f"{case['case']}.npz")
    inputs = [torch.from_numpy(arrays[f"in{index}"]) for index in range(case["n_in"])]
    operator = operators()[case["op"]]
    arguments = arguments_of(operator, case)
    outputs = operator(inputs, **arguments) if operator.takes_list else operator(*inputs, **arguments)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return outputs, [arrays[name] for name in sorted(arrays.files) if name.startswith("out")]


def test_every_operator_with_golden_cases_is_defined() -> None:
    assert set(operators()) >= set(DETECTION) == {case["op"] for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=[f"{case['op']}-{case['case']}" for case in CASES])
def test_an_operator_gives_what_genuine_caffe2_gives(case: dict[str, Any]) -> None:
    if "process_died_with_status" in case or (case["op"], case["case"]) in READS_FOREIGN_MEMORY:
        with pytest.raises(OperatorError, match=f"^{case['op']}: "):
            run(case)
        return
    outputs, expected = run(case)
    assert len(expected) == case["n_out"]
    if case["op"] == "DistributeFpnProposals":
        assert len(outputs) == case["n_out"]
    # The others give all outputs that Caffe2 has; a net may name fewer.
    assert len(outputs) >= case["n_out"]
    for output, array in zip(outputs[: case["n_out"]], expected, strict=True):
        actual = output.numpy()
        assert (actual.shape, actual.dtype) == (array.shape, array.dtype)
        np.testing.assert_allclose(actual, array, rtol=1e-4, atol=1e-5, equal_nan=True)
