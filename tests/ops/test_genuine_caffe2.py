"""Random cases side by side with genuine Caffe2, mostly those where only its algorithms decide: ties and NaN."""

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


def tied(generator: np.random.Generator, shape: tuple[int, ...], levels: int, nan: float = 0.0) -> NDArray[np.float32]:
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
    for levels, nan in ((7, 0.0), (100000, 0.0), (1000, 0.02)):
        scores = tied(generator, (1, 3, height, width), levels, nan)
        # Without NaN all are sorted too; with it std::sort may leave its range in genuine Caffe2.
        for count in (1, 17, 100, 400) if nan else (1, 17, 100, 400, 0):
            if nan and count >= scores.size:
                continue
            arguments = {"spatial_scale": 0.125, "pre_nms_topN": count, "post_nms_topN": 60, "min_size": 0.0}
            yield case_type(
                "GenerateProposals",
                (scores, deltas, im_info, anchors),
                arguments | {"nms_thresh": 0.6} | NO_PLUS_ONE,
                2,
            )


def detections(case_type: Any, random_boxes: Callable[..., Any], seed: int) -> Iterator[Any]:
    generator = np.random.default_rng(seed)
    count, classes = int(generator.integers(1, 300)), int(generator.integers(1, 6))
    boxes = random_boxes(generator, count * classes).reshape(count, classes * 4)
    splits = np.array([count // 3, count - count // 3], np.float32)
    for levels in (10, 100000):
        scores = tied(generator, (count, classes + 1), levels)
        for soft, method in ((0, "linear"), (1, "linear"), (1, "gaussian")):
            arguments = {
                "score_thresh": 0.3,
                "nms": 0.4,
                "detections_per_im": int(generator.integers(0, 60)),
                "soft_nms_enabled": soft,
                "soft_nms_method": method,
                "input_boxes_include_bg_cls": 0,
                "output_classes_include_bg_cls": 0,
            }
            yield case_type("BoxWithNMSLimit", (scores, boxes, splits), arguments | NO_PLUS_ONE, 6)


def collections(case_type: Any, random_boxes: Callable[..., Any], seed: int) -> Iterator[Any]:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(0, 120, 3)
    rois = [np.hstack([np.zeros((n, 1), np.float32), random_boxes(generator, n)]) for n in sizes]
    arguments = {"rpn_max_level": 4, "rpn_min_level": 2, "rpn_post_nms_topN": 50}
    for nan in (0.0, 0.03):
        scores = [tied(generator, (n,), 40, nan) for n in sizes]
        yield case_type("CollectRpnProposals", (*rois, *scores), arguments)
    distribution = {"roi_canonical_scale": 40, "roi_max_level": 5, "roi_min_level": 2} | NO_PLUS_ONE
    yield case_type("DistributeFpnProposals", (np.concatenate(rois),), distribution, 5)


def poolings(case_type: Any, random_boxes: Callable[..., Any], seed: int) -> Iterator[Any]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(2, 5, 23, 31)).astype(np.float32)
    boxes = random_boxes(generator, 30) + generator.normal(0, 20, (30, 1)).astype(np.float32)
    rois = np.hstack([generator.integers(0, 2, (30, 1)), boxes]).astype(np.float32)
    for ratio in (0, 1, 3):
        for aligned in (0, 1):
            sizes = {"pooled_h": int(generator.integers(1, 8)), "pooled_w": int(generator.integers(1, 8))}
            arguments = {"spatial_scale": 0.25, "sampling_ratio": ratio, "aligned": aligned} | sizes
            yield case_type("RoIAlign", (features, rois), arguments)
            channels_last = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
            yield case_type("RoIAlign", (channels_last, rois), arguments | {"order": "NHWC"})


def heads(case_type: Any, random_boxes: Callable[..., Any], seed: int) -> Iterator[Any]:
    generator = np.random.default_rng(seed)
    boxes = random_boxes(generator, 20)
    boxes[::5, 2] = boxes[::5, 0]
    heatmaps = generator.normal(0, 3, (20, 4, 9, 9)).astype(np.float32)
    yield case_type("HeatmapMaxKeypoint", (heatmaps, boxes), {"should_output_softmax": 1})
    # Flat tops: the peak's cell and its parabola are ties too.
    yield case_type("HeatmapMaxKeypoint", (np.round(heatmaps / 3), boxes), {"should_output_softmax": 0})
    deltas = generator.normal(0, 2, (20, 12)).astype(np.float32)
    im_info = np.array([[83.4, 120.6, 1.0]], np.float32)
    arguments = {"weights": [10.0, 10.0, 5.0, 5.0], "apply_scale": seed % 2} | NO_PLUS_ONE
    yield case_type("BBoxTransform", (boxes, deltas, im_info), arguments, 2)
    im_info[0, 2] = 1.7
    yield case_type("BBoxTransform", (boxes, deltas, im_info), arguments, 2)


def adversaries(case_type: Any, worst_scores: Callable[[int], NDArray[np.float32]]) -> Iterator[Any]:
    """Scores on which std::sort falls back to its heap; the boxes lie apart, so the order is what comes out."""
    anchors = np.array([[-1, -1, 1, 1]], np.float32)
    for count in (100, 1000, 2000):
        deltas, im_info = np.zeros((1, 4, 1, count), np.float32), np.array([[9, 8 * count, 1]], np.float32)
        arguments = {"spatial_scale": 0.125, "pre_nms_topN": 0, "post_nms_topN": 0, "min_size": 0.0} | NO_PLUS_ONE
        scores = worst_scores(count).reshape(1, 1, 1, count)
        yield case_type("GenerateProposals", (scores, deltas, im_info, anchors), arguments, 2)


def test_random_cases_agree_with_genuine_caffe2(
    ask_caffe2: Callable[..., Any],
    case_type: Any,
    random_boxes: Callable[..., Any],
    worst_scores: Callable[[int], NDArray[np.float32]],
) -> None:
    cases = list(adversaries(case_type, worst_scores))
    for seed in SEEDS:
        cases += proposals(case_type, seed)
        for make in (detections, collections, poolings, heads):
            cases += make(case_type, random_boxes, seed)
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
