"""BBoxTransform beyond its golden cases."""

from typing import Any

import pytest
import torch

from roastery.errors import OperatorError
from roastery.ops import bbox_transform

IM_INFO = torch.tensor([[100.0, 200.0, 1.0]])


def test_images_of_a_batch_are_cut_each_to_its_own_size() -> None:
    rois = torch.tensor([[0.0, 0, 0, 80, 80], [1.0, 0, 0, 80, 80], [1.0, 10, 10, 20, 20]])
    im_info = torch.tensor([[50.0, 40.0, 1.0], [60.0, 70.0, 1.0]])
    boxes, splits = bbox_transform(rois, torch.zeros(3, 4), im_info, legacy_plus_one=False)
    assert boxes.tolist() == [[0.0, 0.0, 40.0, 50.0], [0.0, 0.0, 70.0, 60.0], [10.0, 10.0, 20.0, 20.0]]
    assert splits.tolist() == [1.0, 2.0]


def test_an_image_without_rois_has_a_split_of_0() -> None:
    rois = torch.tensor([[1.0, 0, 0, 80, 80]])
    _, splits = bbox_transform(rois, torch.zeros(1, 4), IM_INFO.repeat(3, 1))
    assert splits.tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotated": True}, "rotated boxes are not supported"),
        ({"weights": [1.0]}, "1 weights, must be 4"),
        ({"rois": torch.zeros(2, 6)}, r"rois \(2, 6\) must be \(n, 4\) or \(n, 5\)"),
        ({"deltas": torch.zeros(3, 8)}, r"deltas \(3, 8\) must be \(2, 4 \* classes\)"),
        ({"deltas": torch.zeros(2, 6)}, r"deltas \(2, 6\) must be \(2, 4 \* classes\)"),
        ({"im_info": torch.zeros(1, 2)}, r"im_info \(1, 2\) must be \(images, 3\)"),
        ({"im_info": IM_INFO.repeat(2, 1)}, "rois without image indices, but im_info of 2 images"),
        ({"rois": torch.tensor([[0.0, 0, 0, 1, 1], [1.0, 0, 0, 1, 1]])}, r"an image index lies outside \[0, 1\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"rois": torch.zeros(2, 4), "deltas": torch.zeros(2, 8), "im_info": IM_INFO} | changes
    with pytest.raises(OperatorError, match=f"^BBoxTransform: {message}"):
        bbox_transform(given.pop("rois"), given.pop("deltas"), given.pop("im_info"), **given)
