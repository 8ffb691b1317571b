"""Box arithmetic against closed forms."""

import math

import pytest
import torch

from roastery.ops.boxes import clip_boxes, decode_deltas


@pytest.mark.parametrize("plus_one", [0, 1])
def test_no_deltas_leave_a_box_as_it_is(plus_one: int) -> None:
    boxes = torch.tensor([[2.0, 3.0, 10.0, 7.0], [0.0, 0.0, 1.0, 1.0]])
    assert (
        decode_deltas(boxes, torch.zeros(2, 3, 4), [1.0] * 4, plus_one).tolist()
        == boxes[:, None].repeat(1, 3, 1).tolist()
    )


def test_a_shift_counts_in_widths_and_a_scale_in_logarithms() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    deltas = torch.tensor([[[5.0, -10.0, math.log(2) * 5, 0.0]]])
    (decoded,) = decode_deltas(boxes, deltas, [10.0, 10.0, 5.0, 5.0], 0)[0]
    # The centre (5, 10) moves by (0.5 * 10, -1 * 20) and the width doubles.
    torch.testing.assert_close(decoded, torch.tensor([0.0, -20.0, 20.0, 0.0]))


def test_a_side_grows_at_most_62_5_times() -> None:
    decoded = decode_deltas(torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.full((1, 1, 4), 50.0), [1.0] * 4, 0)[0, 0]
    assert float(decoded[2] - decoded[0]) == pytest.approx(8 * 1000 / 16)


def test_decoding_leaves_the_deltas_as_they_are() -> None:
    deltas = torch.full((1, 1, 4), 50.0)
    decode_deltas(torch.tensor([[0.0, 0.0, 8.0, 8.0]]), deltas, [1.0] * 4, 0)
    assert deltas.tolist() == [[[50.0] * 4]]


@pytest.mark.parametrize(("plus_one", "right", "bottom"), [(0, 20.0, 10.0), (1, 19.0, 9.0)])
def test_clipping_holds_boxes_in_the_image(plus_one: int, right: float, bottom: float) -> None:
    boxes = torch.tensor([[-5.0, -5.0, 50.0, 50.0], [1.0, 2.0, 3.0, 4.0], [30.0, 30.0, 40.0, 40.0]])
    assert clip_boxes(boxes, 10, 20, plus_one).tolist() == [
        [0.0, 0.0, right, bottom],
        [1.0, 2.0, 3.0, 4.0],
        [right, bottom, right, bottom],
    ]
