import numpy as np
import pytest
import torch

from roastery.reference.boxes import clip, decode, larger_than


@pytest.mark.parametrize("name", ["basic", "big_deltas_clip", "agnostic", "empty"])
def test_boxes_are_decoded_and_clipped_as_genuine_caffe2_does(caffe2_case, name):
    (rois, deltas, im_info), (expected, *_), arguments = caffe2_case("BBoxTransform", name)
    assert im_info[0, 2] == 1.0
    boxes = decode(
        torch.from_numpy(deltas).reshape(len(deltas), deltas.shape[1] // 4, 4),
        torch.from_numpy(rois[:, -4:].copy()),
        arguments["weights"],
    )
    clipped = clip(boxes, (int(im_info[0, 0]), int(im_info[0, 1])))
    np.testing.assert_allclose(clipped.reshape(expected.shape).numpy(), expected, rtol=1e-5, atol=1e-3)


def test_no_delta_leaves_a_box_where_it_is():
    boxes = torch.tensor([[3.0, 4.0, 10.0, 20.0]])
    assert decode(torch.zeros(1, 2, 4), boxes, (10, 10, 5, 5)).tolist() == [boxes.tolist() * 2]


def test_a_side_grows_at_most_from_16_to_1000_pixels():
    boxes = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    grown = decode(torch.tensor([[[0.0, 0.0, 50.0, 50.0]]]), boxes, (1, 1, 1, 1))[0, 0]
    assert (grown[2] - grown[0]).item() == pytest.approx(1000.0, rel=1e-5)


def test_a_side_as_long_as_the_bound_is_not_larger():
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.5, 4.5], [0.0, 0.0, 9.0, 4.0]])
    assert larger_than(boxes, 4).tolist() == [False, True, False]
