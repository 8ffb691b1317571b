import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roastery.errors import RuntimeFailed
from roastery.postprocess.retinanet import RetinaNetSettings, _best, decode_maps

ANCHOR = [-4.0, -4.0, 4.0, 4.0]


def settings(anchors=((ANCHOR,),), strides=(8.0,), **changes):
    usual = {
        "score_threshold": 0.5,
        "topk_candidates": 100,
        "nms_threshold": 0.5,
        "max_detections_per_image": 100,
        "box_weights": [1.0, 1.0, 1.0, 1.0],
    }
    cell_anchors = [torch.tensor(each) for each in anchors]
    return RetinaNetSettings(**(usual | changes), strides=list(strides), cell_anchors=cell_anchors)


def maps(*scores, anchors=1):
    """One level of one image a score list: (A * K, H, W) scores; with deltas of 0."""
    logits = torch.tensor(scores).logit()
    return {"box_cls_0": logits, "box_delta_0": torch.zeros(len(logits), 4 * anchors, *logits.shape[2:])}


def test_a_cell_that_scores_is_its_anchor_moved_by_its_deltas():
    outputs = maps([[[0.1, 0.2, 0.3], [0.4, 0.3, 0.875]]])
    # By hand: the cell of row 1 and column 2 lies at (16, 8); a quarter to the right, an eighth up, twice as wide.
    outputs["box_delta_0"][0, :, 1, 2] = torch.tensor([0.25, -0.125, math.log(2), 0.0])
    found = decode_maps(outputs, settings())
    torch.testing.assert_close(found["bbox_nms"], torch.tensor([[18.0 - 8, 7.0 - 4, 18.0 + 8, 7.0 + 4]]))
    assert found["score_nms"].tolist() == pytest.approx([0.875])
    assert found["class_nms"].tolist() == [0.0]
    assert found["batch_splits"].tolist() == [1.0]


def test_the_deltas_are_divided_by_the_box_weights():
    outputs = maps([[[0.9]]])
    outputs["box_delta_0"][0, :, 0, 0] = torch.tensor([10.0, 5.0, 0.0, 5 * math.log(2)])
    found = decode_maps(outputs, settings(box_weights=[10.0, 10.0, 5.0, 5.0]))
    torch.testing.assert_close(found["bbox_nms"], torch.tensor([[8.0 - 4, 4.0 - 8, 8.0 + 4, 4.0 + 8]]))


def test_channels_are_anchor_by_anchor_and_in_each_class_by_class():
    wide = [-8.0, -2.0, 8.0, 2.0]
    # Two anchors of three classes: the fifth channel is the second anchor's second class.
    outputs = maps([[[0.1]], [[0.1]], [[0.1]], [[0.1]], [[0.9]], [[0.1]]], anchors=2)
    outputs["box_delta_0"][0, :, 0, 0] = torch.tensor([9.0, 9, 9, 9, 0.5, 0, 0, 0])
    found = decode_maps(outputs, settings([[ANCHOR, wide]]))
    assert found["class_nms"].tolist() == [1.0]
    assert found["bbox_nms"].tolist() == [[0.0, -2.0, 16.0, 2.0]]


def test_each_level_has_its_own_stride_and_anchors():
    outputs = maps([[[0.1, 0.9]]])
    outputs["box_cls_1"] = torch.tensor([[[[0.1, 0.8]]]]).logit()
    outputs["box_delta_1"] = torch.zeros(1, 4, 1, 2)
    found = decode_maps(outputs, settings([[ANCHOR], [[-9.0, -9.0, 9.0, 9.0]]], [8.0, 100.0]))
    assert found["bbox_nms"].tolist() == [[4.0, -4.0, 12.0, 4.0], [91.0, -9.0, 109.0, 9.0]]
    assert found["score_nms"].tolist() == pytest.approx([0.9, 0.8])


def test_a_score_at_the_threshold_is_none():
    # A logit of 0 is a score of exactly one half.
    outputs = {"box_cls_0": torch.tensor([[[[0.0, 1e-6]]]]), "box_delta_0": torch.zeros(1, 4, 1, 2)}
    assert decode_maps(outputs, settings())["bbox_nms"].tolist() == [[4.0, -4.0, 12.0, 4.0]]


def test_of_each_level_the_best_candidates_go_on():
    # Far apart, so that none covers another.
    outputs = maps([[[0.6, 0.9, 0.7, 0.8]]])
    outputs["box_cls_1"], outputs["box_delta_1"] = (outputs[name].clone() for name in ("box_cls_0", "box_delta_0"))
    two = settings([[ANCHOR]] * 2, [50.0, 1000.0], topk_candidates=2)
    found = decode_maps(outputs, two)
    assert found["score_nms"].tolist() == pytest.approx([0.9, 0.9, 0.8, 0.8])
    assert sorted(found["bbox_nms"][:, 0].tolist()) == [46.0, 146.0, 996.0, 2996.0]


def test_of_equal_candidates_the_first_of_the_map_go_on():
    # So many that a sort may leave their order.
    found = decode_maps(maps([[[0.75] * 30] * 20]), settings(strides=[50.0], topk_candidates=3))
    assert sorted(found["bbox_nms"][:, :2].tolist()) == [[-4.0, -4.0], [46.0, -4.0], [96.0, -4.0]]


@given(
    st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.6, 0.7, 0.9]), min_size=1, max_size=60),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.5, 0.9]),
)
def test_the_candidates_are_those_of_a_whole_stable_sort(scores, most, threshold):
    expected = sorted((place for place, score in enumerate(scores) if score > threshold), key=lambda k: -scores[k])
    # Float64 keeps what the list has.
    assert _best(torch.tensor(scores, dtype=torch.float64), threshold, most).tolist() == expected[:most]


def test_the_best_detections_of_an_image_are_left():
    found = decode_maps(maps([[[0.6, 0.9, 0.7, 0.8]]]), settings(strides=[50.0], max_detections_per_image=3))
    assert found["score_nms"].tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_what_overlaps_within_a_class_is_dropped_and_across_classes_is_not():
    # Of 8 by 8 pixels 2 apart: an overlap of 48 / 80.
    outputs = maps([[[0.9, 0.8]], [[0.7, 0.1]]])
    found = decode_maps(outputs, settings(strides=[2.0]))
    assert found["class_nms"].tolist() == [0.0, 1.0]
    assert found["score_nms"].tolist() == pytest.approx([0.9, 0.7])
    assert found["bbox_nms"].tolist() == [[-4.0, -4.0, 4.0, 4.0]] * 2
    # An overlap of the threshold is none.
    kept = decode_maps(outputs, settings(strides=[2.0], nms_threshold=0.6))
    assert kept["score_nms"].tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_what_overlaps_across_levels_is_dropped():
    outputs = maps([[[0.8]]])
    outputs["box_cls_1"], outputs["box_delta_1"] = torch.tensor([[[[0.9]]]]).logit(), torch.zeros(1, 4, 1, 1)
    found = decode_maps(outputs, settings([[ANCHOR]] * 2, [8.0, 16.0]))
    assert found["score_nms"].tolist() == pytest.approx([0.9])


def test_a_batch_is_decoded_image_by_image_and_split():
    outputs = maps([[[0.9, 0.1]]], [[[0.2, 0.3]]], [[[0.8, 0.7]]])
    found = decode_maps(outputs, settings(strides=[50.0]))
    assert found["batch_splits"].tolist() == [1.0, 0.0, 2.0]
    assert found["score_nms"].tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert found["bbox_nms"][:, 0].tolist() == [-4.0, -4.0, 46.0]


def test_boxes_that_overlap_in_two_images_are_both_kept():
    found = decode_maps(maps([[[0.9]]], [[[0.8]]]), settings())
    assert found["batch_splits"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("size", [(1, 1), (0, 3)])
def test_nothing_found_is_empty_under_every_name(size):
    outputs = {"box_cls_0": torch.full((2, 3, *size), -9.0), "box_delta_0": torch.zeros(2, 4, *size)}
    found = decode_maps(outputs, settings())
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "bbox_nms": (0, 4),
        "score_nms": (0,),
        "class_nms": (0,),
        "batch_splits": (2,),
    }


def test_what_the_net_gave_is_not_changed():
    outputs = maps([[[0.9, 0.6]]])
    before = {name: tensor.clone() for name, tensor in outputs.items()}
    decode_maps(outputs, settings())
    assert all(outputs[name].equal(before[name]) for name in before)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("box_cls_0", None, "gave no box_cls_0; it gave box_delta_0"),
        ("box_delta_0", None, "gave no box_delta_0; it gave box_cls_0"),
        ("box_delta_0", torch.zeros(1, 8, 2, 2), r"box_delta_0 \(1, 8, 2, 2\), which do not fit 1 anchors a cell"),
        ("box_delta_0", torch.zeros(1, 4, 2, 3), "do not fit"),
        ("box_delta_0", torch.zeros(2, 4, 2, 2), "do not fit"),
        ("box_delta_0", torch.zeros(4, 2, 2), "do not fit"),
        ("box_cls_0", torch.zeros(1, 0, 2, 2), "do not fit"),
        ("box_cls_0", torch.full((1, 3, 2, 2), float("nan")), "NaN or infinity in box_cls_0 or box_delta_0"),
        ("box_delta_0", torch.full((1, 4, 2, 2), float("inf")), "NaN or infinity in box_cls_0 or box_delta_0"),
    ],
)
def test_maps_that_no_net_should_give_are_refused(name, value, message):
    outputs = {"box_cls_0": torch.zeros(1, 3, 2, 2), "box_delta_0": torch.zeros(1, 4, 2, 2)}
    decode_maps(outputs, settings())
    if value is None:
        del outputs[name]
    else:
        outputs[name] = value
    with pytest.raises(RuntimeFailed, match=message) as refused:
        decode_maps(outputs, settings())
    assert "\n" not in str(refused.value)


def test_classes_that_are_not_as_many_for_each_anchor_are_refused():
    outputs = {"box_cls_0": torch.zeros(1, 3, 2, 2), "box_delta_0": torch.zeros(1, 8, 2, 2)}
    with pytest.raises(RuntimeFailed, match="do not fit 2 anchors a cell"):
        decode_maps(outputs, settings([[ANCHOR, ANCHOR]]))


def test_levels_of_different_batches_are_refused():
    outputs = maps([[[0.9]]])
    outputs["box_cls_1"], outputs["box_delta_1"] = torch.zeros(2, 1, 1, 1), torch.zeros(2, 4, 1, 1)
    with pytest.raises(RuntimeFailed, match=r"maps of batches of \[1, 2\] images"):
        decode_maps(outputs, settings([[ANCHOR]] * 2, [8.0, 16.0]))


def test_levels_of_different_classes_are_refused():
    outputs = maps([[[0.9]]])
    outputs["box_cls_1"], outputs["box_delta_1"] = torch.zeros(1, 2, 1, 1), torch.zeros(1, 4, 1, 1)
    with pytest.raises(RuntimeFailed, match=r"levels of \[1, 2\] classes; convert the model again"):
        decode_maps(outputs, settings([[ANCHOR]] * 2, [8.0, 16.0]))
