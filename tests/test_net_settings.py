"""What a net says of itself is read, or refused in one line."""

from typing import Any

import pytest

from roastery.caffe2.caffe2_pb2 import Argument, NetDef
from roastery.caffe2.nets import arguments_of
from roastery.errors import ModelFileError
from roastery.net_arguments import NetArguments
from roastery.net_settings import panoptic_settings, retinanet_settings
from roastery.postprocess.panoptic import PanopticSettings

TWO_LEVELS = {
    "meta_architecture": "RetinaNet",
    "anchor_strides": [8, 16],
    "cell_anchors_0": [-4.0, -4.0, 4.0, 4.0, -8.0, -2.0, 8.0, 2.0],
    "cell_anchors_1": [-9.0, -9.0, 9.0, 9.0, -1.0, -1.0, 1.0, 1.0],
}


def net(arguments: dict[str, Any]) -> NetArguments:
    made = NetDef()
    for name, value in arguments.items():
        if isinstance(value, Argument):
            made.arg.append(value)
        elif isinstance(value, str):
            made.arg.add(name=name, s=value.encode())
        elif isinstance(value, float):
            made.arg.add(name=name, f=value)
        elif isinstance(value, int):
            made.arg.add(name=name, i=value)
        elif any(isinstance(item, float) for item in value):
            made.arg.add(name=name, floats=value)
        else:
            made.arg.add(name=name, ints=value)
    return arguments_of(made)


@pytest.mark.parametrize("read", [retinanet_settings, panoptic_settings])
@pytest.mark.parametrize("architecture", [None, "GeneralizedRCNN", ""])
def test_a_net_of_another_architecture_has_none(read: Any, architecture: str | None) -> None:
    arguments = {"score_threshold": "no number", "combine_overlap_threshold": "none either"}
    assert read(net(arguments if architecture is None else arguments | {"meta_architecture": architecture})) is None


def test_what_a_retinanet_says_is_read() -> None:
    said = {
        "score_threshold": 0.25,
        "topk_candidates": 7,
        "nms_threshold": 0.75,
        "max_detections_per_image": 9,
        "bbox_reg_weights": [10.0, 10.0, 5.0, 5.0],
    }
    found = retinanet_settings(net(TWO_LEVELS | said))
    assert found is not None
    assert (found.score_threshold, found.topk_candidates) == (0.25, 7)
    assert (found.nms_threshold, found.max_detections_per_image) == (0.75, 9)
    assert (found.box_weights, found.strides) == ([10.0, 10.0, 5.0, 5.0], [8.0, 16.0])
    assert [anchors.tolist() for anchors in found.cell_anchors] == [
        [[-4, -4, 4, 4], [-8, -2, 8, 2]],
        [[-9, -9, 9, 9], [-1, -1, 1, 1]],
    ]


def test_what_a_retinanet_does_not_say_is_detectron2s_default() -> None:
    found = retinanet_settings(net(TWO_LEVELS))
    assert found is not None
    assert (found.score_threshold, found.topk_candidates) == (0.05, 1000)
    assert (found.nms_threshold, found.max_detections_per_image) == (0.5, 100)
    assert found.box_weights == [1.0] * 4


def test_whole_numbers_pass_for_floats() -> None:
    found = retinanet_settings(net(TWO_LEVELS | {"cell_anchors_1": [-9, -9, 9, 9], "score_threshold": 0}))
    assert found is not None
    assert (found.score_threshold, found.cell_anchors[1].tolist()) == (0.0, [[-9.0, -9.0, 9.0, 9.0]])


def test_fewer_than_no_candidates_are_none() -> None:
    found = retinanet_settings(net(TWO_LEVELS | {"topk_candidates": -3}))
    assert found is not None
    assert found.topk_candidates == 0


def test_a_pickle_of_anchors_is_not_read_but_refused_in_one_line() -> None:
    """As the original's nets hold them. Nothing is unpickled: these bytes would say so."""
    pickled = Argument(name="serialized_anchor_generator", s=b"cos\nsystem\n(S'touch executed'\ntR.")
    arguments = {"meta_architecture": "RetinaNet", "anchors": pickled}
    with pytest.raises(ModelFileError, match=r"as a pickle .* which could execute and is not read") as refused:
        retinanet_settings(net(arguments))
    assert "convert the model with roastery" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_pickle_beside_the_numbers_is_left_alone() -> None:
    pickled = Argument(name="serialized_anchor_generator", s=b"\xff\x00")
    found = retinanet_settings(net(TWO_LEVELS | {"anchors": pickled}))
    assert found is not None
    assert found.strides == [8.0, 16.0]


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anchor_strides": [8]}, "anchors of 2 levels for 1 strides"),
        ({"anchor_strides": [8, 16, 32]}, "anchors of 2 levels for 3 strides"),
        ({"anchor_strides": []}, "anchors of 2 levels for 0 strides"),
        ({"anchor_strides": [8, 0]}, "anchor_strides not positive"),
        ({"anchor_strides": [-8, 16]}, "anchor_strides not positive"),
        ({"anchor_strides": [8.0, 16.0]}, "net argument 'anchor_strides' holds"),
        ({"anchor_strides": 8}, "net argument 'anchor_strides' holds 8"),
        ({"cell_anchors_0": []}, "not four numbers for each"),
        ({"cell_anchors_0": [1.0, 2.0, 3.0]}, "not four numbers for each"),
        ({"cell_anchors_1": "anchors"}, "net argument 'cell_anchors_1' holds 'anchors'"),
        ({"cell_anchors_1": [NAN, -9.0, 9.0, 9.0]}, "not finite"),
        ({"cell_anchors_1": [-INFINITY, -9.0, 9.0, 9.0]}, "not finite"),
        ({"bbox_reg_weights": [1.0, 1.0, 1.0]}, "bbox_reg_weights are not four"),
        ({"bbox_reg_weights": []}, "bbox_reg_weights are not four"),
        ({"bbox_reg_weights": [1.0, 1.0, 0.0, 1.0]}, "bbox_reg_weights are not four positive"),
        ({"bbox_reg_weights": [1.0, 1.0, -1.0, 1.0]}, "bbox_reg_weights are not four positive"),
        ({"bbox_reg_weights": [1.0, NAN, 1.0, 1.0]}, "bbox_reg_weights are not four positive"),
        ({"score_threshold": "low"}, "net argument 'score_threshold' holds 'low'"),
        ({"score_threshold": NAN}, "score_threshold.* not finite"),
        ({"nms_threshold": [0.5]}, "net argument 'nms_threshold' holds"),
        ({"nms_threshold": INFINITY}, "nms_threshold.* not finite"),
        ({"topk_candidates": 1.5}, "net argument 'topk_candidates' holds 1.5"),
        ({"max_detections_per_image": "all"}, "net argument 'max_detections_per_image' holds 'all'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_no_retinanet_says_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message) as refused:
        retinanet_settings(net(TWO_LEVELS | changes))
    assert "\n" not in str(refused.value)


def test_a_retinanet_without_anchors_is_refused() -> None:
    with pytest.raises(ModelFileError, match="anchors of 0 levels for 1 strides"):
        retinanet_settings(net({"meta_architecture": "RetinaNet", "anchor_strides": [8]}))


def test_levels_are_counted_up_to_the_first_that_is_missing() -> None:
    without = {name: value for name, value in TWO_LEVELS.items() if name != "cell_anchors_0"}
    with pytest.raises(ModelFileError, match="anchors of 0 levels for 2 strides"):
        retinanet_settings(net(without))


def test_a_meta_architecture_that_is_no_text_is_refused() -> None:
    for read in (retinanet_settings, panoptic_settings):
        with pytest.raises(ModelFileError, match="net argument 'meta_architecture' holds 3"):
            read(net({"meta_architecture": 3}))


def test_what_a_panoptic_net_says_is_read_and_what_not_is_the_default() -> None:
    said = {
        "meta_architecture": "PanopticFPN",
        "combine_overlap_threshold": 0.25,
        "combine_stuff_area_limit": 64,
        "combine_instances_confidence_threshold": 0.75,
    }
    assert panoptic_settings(net(said)) == PanopticSettings(0.25, 64, 0.75)
    assert panoptic_settings(net({"meta_architecture": "PanopticFPN"})) == PanopticSettings()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("combine_overlap_threshold", "half", "net argument 'combine_overlap_threshold' holds 'half'"),
        ("combine_overlap_threshold", NAN, "combine_overlap_threshold.* not finite"),
        ("combine_stuff_area_limit", 64.5, "net argument 'combine_stuff_area_limit' holds 64.5"),
        (
            "combine_instances_confidence_threshold",
            [0.5],
            "net argument 'combine_instances_confidence_threshold' holds",
        ),
        ("combine_instances_confidence_threshold", NAN, "combine_instances_confidence_threshold.* not finite"),
    ],
)
def test_what_no_panoptic_net_says_is_refused_in_one_line(name: str, value: Any, message: str) -> None:
    with pytest.raises(ModelFileError, match=message) as refused:
        panoptic_settings(net({"meta_architecture": "PanopticFPN", name: value}))
    assert "\n" not in str(refused.value)
