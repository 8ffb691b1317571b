"""A net compared with its detector on a sample: everything that differs is told, and nothing is passed over."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from roastery.errors import OperatorError, RuntimeFailed
from roastery.evaluation.sample_parity import compare_on_sample

Arrays = Mapping[str, NDArray[Any]]


def _outputs(shift: float = 0.0) -> Arrays:
    return {
        "bbox_nms": np.array([[1, 2, 11 + shift, 22]], np.float32),
        "score_nms": np.array([0.75], np.float32),
        "class_nms": np.array([0], np.float32),
    }


_SAMPLE = [({"data": np.array([k])}, _outputs()) for k in range(3)]


def test_a_net_that_gives_the_same_passes_on_every_image() -> None:
    summary = compare_on_sample(lambda inputs: _outputs(), _SAMPLE, "torch")
    assert (summary.passed, summary.images, summary.differences, summary.runtime) == (True, 3, (), "torch")
    assert summary.largest["bbox_nms"] == 0.0


def test_one_image_that_differs_fails_the_sample_and_is_named_with_the_largest_difference() -> None:
    summary = compare_on_sample(lambda inputs: _outputs(0.5 if inputs["data"][0] == 1 else 0.0), _SAMPLE, "caffe2")
    assert not summary.passed
    assert len(summary.differences) == 1
    assert summary.differences[0].startswith("sample 1: bbox_nms")
    assert summary.largest["bbox_nms"] == pytest.approx(0.5)


def test_an_operator_that_refuses_an_image_is_a_difference() -> None:
    def refuses(inputs: Arrays) -> Arrays:
        if inputs["data"][0] == 2:
            raise OperatorError("RoIAlign: a box of negative size\nmore")
        return _outputs()

    summary = compare_on_sample(refuses, _SAMPLE, "torch")
    assert summary.differences == ("sample 2: RoIAlign: a box of negative size",)
    assert summary.images == 3


def test_nan_fails_and_the_summary_stays_fit_for_json() -> None:
    summary = compare_on_sample(lambda inputs: _outputs(float("nan")), _SAMPLE, "torch")
    assert not summary.passed
    assert all(np.isfinite(value) for value in summary.largest.values())


def test_a_runtime_that_dies_is_no_difference() -> None:
    def dies(inputs: Arrays) -> Arrays:
        raise RuntimeFailed("killed")

    with pytest.raises(RuntimeFailed):
        compare_on_sample(dies, _SAMPLE, "caffe2")
