"""Scores at which only the moves of genuine Caffe2's sorting decide: NaN, and those that are the worst for it.

What else an operator may be given is in `tests/caffe2/operators/`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import roastery.ops  # noqa: F401  (defines the operators)
from roastery.errors import OperatorError
from roastery.ops.definition import operators

pytestmark = pytest.mark.caffe2

NO_PLUS_ONE = {"legacy_plus_one": 0}
SEEDS = range(6)


def tied(generator: np.random.Generator, shape: tuple[int, ...], levels: int, nan: float) -> NDArray[np.float32]:
    """Scores of few different values, of which a share is NaN."""
    scores = (generator.integers(0, levels, shape) / levels).astype(np.float32)
    scores[generator.random(shape) < nan] = np.nan
    return scores


def proposals(case_type: Any, seed: int) -> Iterator[Any]:
    generator = np.random.default_rng(seed)
    height, width = generator.integers(3, 25, 2)
    anchors = np.array([[-8, -8, 8, 8], [-16, -8, 16, 8], [-8, -16, 8, 16]], np.float32)
    im_info = np.array([[height * 8 - 3, width * 8, 1.0]], np.float32)
    deltas = generator.normal(0, 0.4, (1, 12, height, width)).astype(np.float32)
    scores = tied(generator, (1, 3, height, width), 1000, nan=0.02)
    # Were all of them sorted, std::sort might leave its range in genuine Caffe2.
    for count in (count for count in (1, 17, 100, 400) if count < scores.size):
        arguments = {"spatial_scale": 0.125, "pre_nms_topN": count, "post_nms_topN": 60, "min_size": 0.0}
        yield case_type(
            "GenerateProposals", (scores, deltas, im_info, anchors), arguments | {"nms_thresh": 0.6} | NO_PLUS_ONE, 2
        )


def collections(case_type: Any, random_boxes: Callable[..., Any], seed: int) -> Iterator[Any]:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(0, 120, 3)
    rois = [np.hstack([np.zeros((n, 1), np.float32), random_boxes(generator, n)]) for n in sizes]
    arguments = {"rpn_max_level": 4, "rpn_min_level": 2, "rpn_post_nms_topN": 50}
    scores = [tied(generator, (n,), 40, nan=0.03) for n in sizes]
    yield case_type("CollectRpnProposals", (*rois, *scores), arguments)


def adversaries(case_type: Any, worst_scores: Callable[[int], NDArray[np.float32]]) -> Iterator[Any]:
    """Scores on which std::sort falls back to its heap; the boxes lie apart, so the order is what comes out."""
    anchors = np.array([[-1, -1, 1, 1]], np.float32)
    for count in (100, 1000, 2000):
        deltas, im_info = np.zeros((1, 4, 1, count), np.float32), np.array([[9, 8 * count, 1]], np.float32)
        arguments = {"spatial_scale": 0.125, "pre_nms_topN": 0, "post_nms_topN": 0, "min_size": 0.0} | NO_PLUS_ONE
        scores = worst_scores(count).reshape(1, 1, 1, count)
        yield case_type("GenerateProposals", (scores, deltas, im_info, anchors), arguments, 2)


def test_scores_that_are_no_order_are_sorted_as_genuine_caffe2_sorts_them(
    ask_caffe2: Callable[..., Any],
    case_type: Any,
    random_boxes: Callable[..., Any],
    worst_scores: Callable[[int], NDArray[np.float32]],
) -> None:
    cases = list(adversaries(case_type, worst_scores))
    for seed in SEEDS:
        cases += proposals(case_type, seed)
        cases += collections(case_type, random_boxes, seed)
    answers = ask_caffe2(cases)
    assert sum(answer is not None for answer in answers) > len(cases) * 0.9
    wrong = [
        f"case {i}: {problem}"
        for i, (case, answer) in enumerate(zip(cases, answers, strict=True))
        if (problem := difference(case, answer))
    ]
    assert not wrong, "\n".join(wrong)


def difference(case: Any, answer: list[NDArray[Any]] | None) -> str:
    """What of our outputs is not Caffe2's, or nothing."""
    operator = operators()[case.op]
    arguments = {
        name: bool(value) if operator.arguments[name].type is bool else value for name, value in case.arguments.items()
    }
    tensors = [torch.from_numpy(array) for array in case.inputs]
    named = f"{case.op} {case.arguments}"
    try:
        outputs = operator(tensors, **arguments) if operator.takes_list else operator(*tensors, **arguments)
    except OperatorError as error:
        return "" if answer is None else f"{named} is refused: {error}"
    if answer is None:
        return f"{named} is not refused"
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for number, (output, expected) in enumerate(zip(outputs[: case.outputs], answer, strict=True)):
        actual = output.numpy()
        if (actual.shape, actual.dtype) != (expected.shape, expected.dtype):
            return f"{named} output {number} is {actual.shape} {actual.dtype}, not {expected.shape} {expected.dtype}"
        close = np.isclose(actual, expected, rtol=1e-4, atol=1e-4, equal_nan=True)
        if not close.all():
            return f"{named} output {number} differs in {(~close).sum()} of {close.size} values"
    return ""
