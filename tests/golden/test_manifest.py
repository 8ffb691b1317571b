"""The manifest of an original net."""

import json

from roastery.config import load_config
from roastery.conversion_manifest import ReadFrom, write_manifest
from roastery.results import ParitySummary
from roastery.targets import target_of


def test_the_manifest_says_what_was_converted_and_what_the_net_takes_and_gives(golden, shapes, tmp_path):
    caffe2 = target_of("caffe2")
    described = caffe2.describe(golden / "mask_rcnn_fpn")
    source = ReadFrom(load_config(shapes / "mask_rcnn_fpn/config.yaml"), "model_final.pkl", "ab" * 32, 1234)
    parity = ParitySummary(passed=True, images=1, differences=(), largest={"bbox_nms": 0.0}, runtime="torch")

    write_manifest(tmp_path, caffe2, described, source, [parity], None)

    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["source"]["weights"] == "model_final.pkl"
    assert manifest["source"]["weights_sha256"] == "ab" * 32
    assert manifest["net"]["inputs"] == ["data", "im_info"]
    assert manifest["net"]["outputs"] == ["bbox_nms", "score_nms", "class_nms", "mask_fcn_probs"]
    # tests/golden/mask_rcnn_fpn/ops.json: the original's net arguments.
    assert manifest["net"]["arguments"]["size_divisibility"] == 32
    assert manifest["versions"]["torch"]
