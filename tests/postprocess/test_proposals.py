"""Proposals of a batch, told apart by image, and in pixels of the original image."""

import pytest
import torch

from roastery.errors import RuntimeFailed
from roastery.postprocess.instances import resize_to_original
from roastery.postprocess.proposals import assemble_proposals

ROIS = torch.tensor([[0.0, 1, 2, 3, 4], [0, 5, 6, 7, 8], [2, 0, 0, 10, 20]])
LOGITS = torch.tensor([0.5, 1.5, -3.0])
SIZES = [(20, 30), (20, 40), (40, 20)]


def test_each_image_has_its_own_by_falling_objectness() -> None:
    first, second, third = assemble_proposals({"rpn_rois": ROIS, "rpn_roi_probs": LOGITS}, SIZES)
    assert first.proposal_boxes.tensor.tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]]
    assert first.objectness_logits.tolist() == [1.5, 0.5]
    assert len(second) == 0
    assert (third.image_size, third.proposal_boxes.tensor.tolist()) == ((40, 20), [[0, 0, 10, 20]])


def test_they_are_scaled_to_the_original_image_and_those_without_size_go() -> None:
    rois = torch.tensor([[0.0, 1, 2, 3, 4], [0, 5, 6, 5, 8]])
    (found,) = assemble_proposals({"rpn_rois": rois, "rpn_roi_probs": LOGITS[:2]}, [(20, 30)])
    resized = resize_to_original(found, 40, 90)
    assert resized.proposal_boxes.tensor.tolist() == [[3, 4, 9, 8]]
    assert resized.objectness_logits.tolist() == [0.5]
    # What was given stays.
    assert found.proposal_boxes.tensor.tolist()[0] == [5, 6, 5, 8]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rpn_roi_probs": None}, "no rpn_roi_probs"),
        ({"rpn_roi_probs": LOGITS[:2]}, "2 rpn_roi_probs for 3 rpn_rois"),
        ({"rpn_roi_probs": LOGITS * float("nan")}, "NaN"),
        ({"rpn_rois": ROIS + 1}, "none of the 3"),
        ({"rpn_rois": ROIS - 1}, "none of the 3"),
    ],
)
def test_outputs_that_no_net_should_give_are_refused(changes: dict[str, torch.Tensor | None], said: str) -> None:
    outputs = {"rpn_rois": ROIS, "rpn_roi_probs": LOGITS, **changes}
    with pytest.raises(RuntimeFailed, match=said):
        assemble_proposals({name: value for name, value in outputs.items() if value is not None}, SIZES)
