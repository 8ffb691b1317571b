"""GenerateProposals beyond its golden cases."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roastery.errors import OperatorError
from roastery.ops import generate_proposals

ANCHORS = torch.tensor([[-8.0, -8.0, 8.0, 8.0], [-16.0, -8.0, 16.0, 8.0]])


def level(seed: int, images: int = 1, height: int = 9, width: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(images, 2, height, width, generator=generator)
    return scores, torch.randn(images, 8, height, width, generator=generator) * 0.4


def overlaps(boxes: torch.Tensor) -> torch.Tensor:
    sides = torch.minimum(boxes[:, None, 2:], boxes[:, 2:]) - torch.maximum(boxes[:, None, :2], boxes[:, :2])
    intersections = sides.clamp(min=0).prod(-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return intersections / (areas[:, None] + areas - intersections)


@given(st.integers(0, 2**31), st.integers(1, 60), st.sampled_from([0.2, 0.5, 0.9]))
def test_proposals_fall_in_score_lie_in_the_image_and_overlap_little(seed: int, limit: int, threshold: float) -> None:
    scores, deltas = level(seed)
    rois, probabilities = generate_proposals(
        scores,
        deltas,
        torch.tensor([[60.0, 50.0, 1.0]]),
        ANCHORS,
        spatial_scale=0.125,
        pre_nms_topN=80,
        post_nms_topN=limit,
        nms_thresh=threshold,
        min_size=3.0,
        legacy_plus_one=False,
    )
    assert 0 < len(rois) == len(probabilities) <= limit
    assert (probabilities[:-1] >= probabilities[1:]).all()
    assert set(probabilities.tolist()) <= set(scores.flatten().tolist())
    boxes = rois[:, 1:]
    assert (boxes >= 0).all()
    assert (boxes[:, 0::2] <= 50).all()
    assert (boxes[:, 1::2] <= 60).all()
    assert ((boxes[:, 2:] - boxes[:, :2]) >= 3).all()
    assert (overlaps(boxes).tril(-1) <= threshold + 1e-6).all()


def test_an_anchor_moves_by_the_stride_of_its_cell() -> None:
    scores = torch.full((1, 2, 3, 4), -1.0)
    scores[0, 1, 2, 3] = 5.0
    rois, _ = generate_proposals(
        scores,
        torch.zeros(1, 8, 3, 4),
        torch.tensor([[90.0, 90.0, 1.0]]),
        ANCHORS,
        spatial_scale=0.0625,
        post_nms_topN=1,
    )
    assert rois.tolist() == [[0.0, 3 * 16.0 - 16, 2 * 16.0 - 8, 3 * 16.0 + 16, 2 * 16.0 + 8]]


def test_images_of_a_batch_do_not_touch_one_another() -> None:
    im_info = torch.tensor([[60.0, 50.0, 1.0], [40.0, 56.0, 1.0]])
    (first, second), arguments = (level(1), level(2)), {"spatial_scale": 0.125, "min_size": 0.0}
    together, scores = generate_proposals(
        torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]]), im_info, ANCHORS, **arguments
    )
    alone = [
        generate_proposals(*image, im_info[i : i + 1], ANCHORS, **arguments) for i, image in enumerate((first, second))
    ]
    assert torch.equal(together[:, 1:], torch.cat([rois[:, 1:] for rois, _ in alone]))
    assert torch.equal(scores, torch.cat([probabilities for _, probabilities in alone]))
    assert together[:, 0].tolist() == [0.0] * len(alone[0][0]) + [1.0] * len(alone[1][0])


@pytest.mark.parametrize("stride", [(2, 2), (1, 3)])
def test_inputs_need_not_lie_in_one_piece(stride: tuple[int, int]) -> None:
    scores, deltas = level(3)
    parts = [x[:, :, :: stride[0], :: stride[1]] for x in (scores, deltas)]
    im_info = torch.tensor([[60.0, 50.0, 1.0]])
    expected = generate_proposals(*(part.contiguous() for part in parts), im_info, ANCHORS, min_size=0.0)
    actual = generate_proposals(*parts, im_info, ANCHORS, min_size=0.0)
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anchors": torch.zeros(2, 5)}, r"anchors \(A, 5\) are rotated boxes"),
        ({"anchors": torch.zeros(3, 4)}, r"anchors \(3, 4\) do not fit scores \(1, 2, 9, 7\)"),
        ({"deltas": torch.zeros(1, 8, 9, 6)}, r"deltas \(1, 8, 9, 6\) do not fit scores"),
        ({"im_info": torch.zeros(2, 3)}, r"im_info \(2, 3\) must be \(1, 3\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    scores, deltas = level(0)
    values = {"deltas": deltas, "im_info": torch.tensor([[60.0, 50.0, 1.0]]), "anchors": ANCHORS} | changes
    with pytest.raises(OperatorError, match=f"^GenerateProposals: {message}"):
        generate_proposals(scores, values["deltas"], values["im_info"], values["anchors"])
