import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from roastery.reference.nms import grouped_nms


def iou(a, b):
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@st.composite
def scenes(draw):
    count = draw(st.integers(0, 12))
    # Whole pixels, so that IoU is the same in any precision.
    corners = [draw(st.tuples(st.integers(0, 12), st.integers(0, 12))) for _ in range(count)]
    sides = [draw(st.tuples(st.integers(1, 12), st.integers(1, 12))) for _ in range(count)]
    boxes = [[x, y, x + w, y + h] for (x, y), (w, h) in zip(corners, sides, strict=True)]
    scores = draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
    groups = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    return boxes, scores, groups


@given(scenes(), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]), st.integers(-1, 12))
def test_it_keeps_what_the_definition_keeps(scene, threshold, most):
    # Source: the greedy definition, box by box over all groups at once.
    boxes, scores, groups = scene
    expected = []
    for index in sorted(range(len(boxes)), key=lambda index: -scores[index]):
        rivals = [other for other in expected if groups[other] == groups[index]]
        if all(float(np.float32(iou(boxes[other], boxes[index]))) <= threshold for other in rivals):
            expected.append(index)
    kept = grouped_nms(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(groups, dtype=torch.int64),
        threshold,
        most,
    )
    assert kept.tolist() == (expected if most < 0 else expected[:most])


def test_it_keeps_the_detections_that_genuine_caffe2_keeps(caffe2_case):
    (scores, boxes, _), (_, expected_boxes, expected_classes, *_), arguments = caffe2_case("BoxWithNMSLimit", "basic")
    assert not arguments["legacy_plus_one"]
    kept_boxes, kept_classes = [], []
    rows, classes = (torch.from_numpy(scores[:, :-1]) > arguments["score_thresh"]).nonzero(as_tuple=True)
    chosen = torch.from_numpy(boxes).reshape(len(scores), -1, 4)[rows, classes]
    kept = grouped_nms(
        chosen, torch.from_numpy(scores)[rows, classes], classes, arguments["nms"], arguments["detections_per_im"]
    )
    kept_boxes, kept_classes = chosen[kept].numpy(), classes[kept].numpy()
    for label in np.unique(expected_classes):
        np.testing.assert_array_equal(kept_boxes[kept_classes == label], expected_boxes[expected_classes == label])
    assert len(kept_boxes) == len(expected_boxes)


def test_the_overlap_is_single_and_the_threshold_double_precision_as_in_torchvision():
    # An IoU of 3 / 10 is 0.30000001 in single precision: above 0.3, while 0.5 is 0.5 in both.
    boxes = torch.tensor([[0.0, 0.0, 6.0, 1.0], [3.0, 0.0, 10.0, 1.0]])
    scores, groups = torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64)
    assert grouped_nms(boxes, scores, groups, 0.3, -1).tolist() == [0]
    halves = torch.tensor([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    assert grouped_nms(halves, scores, groups, 0.5, -1).tolist() == [0, 1]


def test_a_box_of_no_area_neither_suppresses_nor_is_suppressed():
    # Its IoU with its like is NaN.
    boxes = torch.tensor([[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]])
    assert grouped_nms(boxes, torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64), 0.5, -1).tolist() == [0, 1]
