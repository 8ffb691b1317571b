"""What `operator` makes of a kernel."""

import onnx
import pytest
import torch
from torch import Tensor

import roastery.ops  # noqa: F401  (defines the operators)
from roastery.ops.definition import ONNX_DOMAIN, operator, operators

# Caffe2's defaults, from the constructors in caffe2/operators/*_op.h, PyTorch 1.10.
CAFFE2_DEFAULTS = {
    "BatchPermutation": {},
    "BBoxTransform": {
        "weights": [1.0, 1.0, 1.0, 1.0],
        "apply_scale": True,
        "rotated": False,
        "angle_bound_on": True,
        "angle_bound_lo": -90,
        "angle_bound_hi": 90,
        "clip_angle_thresh": 1.0,
        "legacy_plus_one": True,
    },
    "BoxWithNMSLimit": {
        "score_thresh": 0.05,
        "nms": 0.3,
        "detections_per_im": 100,
        "soft_nms_enabled": False,
        "soft_nms_method": "linear",
        "soft_nms_sigma": 0.5,
        "soft_nms_min_score_thres": 0.001,
        "rotated": False,
        "cls_agnostic_bbox_reg": False,
        "input_boxes_include_bg_cls": True,
        "output_classes_include_bg_cls": True,
        "legacy_plus_one": True,
    },
    "CollectRpnProposals": {"rpn_max_level": 6, "rpn_min_level": 2, "rpn_post_nms_topN": 2000},
    "DistributeFpnProposals": {
        "roi_canonical_scale": 224,
        "roi_canonical_level": 4,
        "roi_max_level": 5,
        "roi_min_level": 2,
        "legacy_plus_one": True,
    },
    "GenerateProposals": {
        "spatial_scale": 0.0625,
        "pre_nms_topN": 6000,
        "post_nms_topN": 300,
        "nms_thresh": 0.7,
        "min_size": 16.0,
        "angle_bound_on": True,
        "angle_bound_lo": -90,
        "angle_bound_hi": 90,
        "clip_angle_thresh": 1.0,
        "legacy_plus_one": True,
    },
    "HeatmapMaxKeypoint": {"should_output_softmax": False},
    "LengthsToSegmentIds": {},
    "ReplaceNaN": {"value": 0.0},
    "RoIAlign": {
        "order": "NCHW",
        "spatial_scale": 1.0,
        "pooled_h": 1,
        "pooled_w": 1,
        "sampling_ratio": -1,
        "aligned": False,
    },
    "Shape": {"axes": []},
    "TopK": {"k": -1, "axis": -1},
}


def test_every_operators_defaults_are_here() -> None:
    assert set(CAFFE2_DEFAULTS) == set(operators())


@pytest.mark.parametrize("name", CAFFE2_DEFAULTS)
def test_arguments_and_defaults_are_caffe2s(name: str) -> None:
    assert {a.name: a.default for a in operators()[name].arguments.values()} == CAFFE2_DEFAULTS[name]


@pytest.mark.parametrize("name", CAFFE2_DEFAULTS)
def test_the_onnx_schema_has_the_same_arguments(name: str) -> None:
    schema = onnx.defs.get_schema(name, domain=ONNX_DOMAIN)
    assert set(schema.attributes) == set(CAFFE2_DEFAULTS[name])


def test_a_name_is_defined_once() -> None:
    def fake(x: Tensor) -> Tensor:
        return torch.empty_like(x)

    with pytest.raises(ValueError, match="operator RoIAlign is defined twice"):
        operator("RoIAlign", outputs=("y",), fake=fake)(fake)


def test_the_number_of_outputs_follows_from_the_arguments() -> None:
    distribute = operators()["DistributeFpnProposals"]
    assert distribute.count_outputs({}) == 5
    assert distribute.count_outputs({"roi_max_level": 3}) == 3
    assert len(distribute(torch.zeros(0, 5), roi_max_level=3)) == 3


def test_only_inputs_that_caffe2_can_do_without_are_optional() -> None:
    assert {name: set(o.optional_inputs) for name, o in operators().items() if o.optional_inputs} == {
        "BoxWithNMSLimit": {"batch_splits"}
    }
