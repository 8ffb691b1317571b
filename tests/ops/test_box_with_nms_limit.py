"""BoxWithNMSLimit beyond its golden cases."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from roastery.errors import OperatorError
from roastery.ops import box_with_nms_limit

FOREGROUND_ONLY = {
    "input_boxes_include_bg_cls": False,
    "output_classes_include_bg_cls": False,
    "legacy_plus_one": False,
}


@pytest.fixture(scope="session")
def scene(random_boxes: Callable[..., NDArray[np.float32]]) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    """`scene(seed)`: scores (n, 5), the background last, and boxes (n, 16)."""

    def make(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = np.random.default_rng(seed)
        count = int(generator.integers(0, 150))
        boxes = random_boxes(generator, count * 4).reshape(count, 16)
        return torch.from_numpy(generator.random((count, 5)).astype(np.float32)), torch.from_numpy(boxes)

    return make


@given(st.integers(0, 2**32 - 1), st.integers(1, 120))
def test_detections_are_rows_of_the_input_over_the_threshold_and_within_the_limit(
    scene: Callable[[int], Any], seed: int, limit: int
) -> None:
    scores, boxes = scene(seed)
    outputs = box_with_nms_limit(scores, boxes, score_thresh=0.3, nms=0.5, detections_per_im=limit, **FOREGROUND_ONLY)
    found_scores, found_boxes, classes, splits, keeps, sizes = outputs
    assert len(found_scores) == int(splits) == int(sizes.sum()) <= limit
    assert (found_scores > 0.3).all()
    for row, number, score, box in zip(keeps.tolist(), classes.long().tolist(), found_scores, found_boxes, strict=True):
        assert score == scores[row, number]
        assert box.tolist() == boxes[row, 4 * number : 4 * number + 4].tolist()
    # By rising class, and by falling score within one.
    for earlier, later in zip(range(len(classes)), range(1, len(classes)), strict=False):
        assert classes[earlier] < classes[later] or (
            classes[earlier] == classes[later] and found_scores[earlier] >= found_scores[later]
        )
    assert sizes[0].tolist() == [0, *torch.bincount(classes.long(), minlength=4).tolist()]


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_the_limit_keeps_the_best_of_what_no_limit_keeps(scene: Callable[[int], Any], seed: int, limit: int) -> None:
    scores, boxes = scene(seed)
    everything, *_ = box_with_nms_limit(scores, boxes, detections_per_im=0, **FOREGROUND_ONLY)
    limited, *_ = box_with_nms_limit(scores, boxes, detections_per_im=limit, **FOREGROUND_ONLY)
    assert sorted(limited.tolist(), reverse=True) == sorted(everything.tolist(), reverse=True)[:limit]


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_images_of_a_batch_do_not_touch_one_another(scene: Callable[[int], Any], first: int, second: int) -> None:
    images = [scene(first), scene(second)]
    alone = [box_with_nms_limit(*image, detections_per_im=20, **FOREGROUND_ONLY) for image in images]
    together = box_with_nms_limit(
        torch.cat([scores for scores, _ in images]),
        torch.cat([boxes for _, boxes in images]),
        torch.tensor([float(len(scores)) for scores, _ in images]),
        detections_per_im=20,
        **FOREGROUND_ONLY,
    )
    for output, parts in zip(together, zip(*alone, strict=True), strict=True):
        assert torch.equal(output, torch.cat(parts))


def test_scores_on_the_threshold_are_left_out() -> None:
    scores = torch.tensor([[0.25, 0.0], [0.5, 0.0]])
    found, *_ = box_with_nms_limit(scores, torch.eye(2, 4) * 9, score_thresh=0.25, **FOREGROUND_ONLY)
    assert found.tolist() == [0.5]


def test_matrices_may_have_two_dimensions_of_1_more() -> None:
    scores, boxes = torch.rand(5, 3), torch.rand(5, 8).cumsum(1)
    flat = box_with_nms_limit(scores, boxes, **FOREGROUND_ONLY)
    deep = box_with_nms_limit(scores[:, :, None, None], boxes[:, :, None, None], **FOREGROUND_ONLY)
    assert all(torch.equal(a, b) for a, b in zip(flat, deep, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotated": True}, "rotated boxes are not supported"),
        ({"soft_nms_method": "cubic"}, "soft_nms_method 'cubic', must be one of"),
        ({"boxes": torch.zeros(4, 12)}, r"boxes \(4, 12\) do not fit scores \(4, 3\), must be \(4, 8\)"),
        ({"scores": torch.zeros(3)}, r"scores \(3,\) must be a matrix"),
        ({"batch_splits": torch.tensor([3.0])}, "batch_splits add up to 3, not to the 4 rows of scores"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    given_ = {"scores": torch.zeros(4, 3), "boxes": torch.zeros(4, 8), **FOREGROUND_ONLY} | changes
    inputs = [given_.pop("scores"), given_.pop("boxes"), given_.pop("batch_splits", None)]
    with pytest.raises(OperatorError, match=f"^BoxWithNMSLimit: {message}"):
        box_with_nms_limit(*inputs, **given_)
