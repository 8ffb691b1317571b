"""The original converter's nets, of five models, in our runtimes: the runtimes are proven apart from our converter.

Expected: `k/out/<blob>` of `caffe2_io.npz`, what genuine Caffe2 gave when the golden files were made.
"""

from pathlib import Path

import numpy as np
import pytest

from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.nets import load_nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.evaluation.parity import compare_detections

MODELS = ("faster_rcnn_fpn", "mask_rcnn_fpn", "retinanet_fpn", "keypoint_rcnn_fpn", "panoptic_fpn")
IMAGES = range(4)


def check(runtime: TorchRuntime | Caffe2Runtime, folder: Path) -> None:
    io = np.load(folder / "caffe2_io.npz")
    for k in IMAGES:
        prefix = f"{k}/out/"
        expected = {name.removeprefix(prefix): io[name] for name in io.files if name.startswith(prefix)}
        assert expected
        actual = runtime.run({"data": io[f"{k}/data"], "im_info": io[f"{k}/im_info"]})
        report = compare_detections(expected, actual)
        assert report.passed, report.differences
        for name, array in actual.items():
            assert array.dtype == expected[name].dtype
        if "class_nms" in expected:
            np.testing.assert_array_equal(actual["class_nms"], expected["class_nms"])
            np.testing.assert_allclose(actual["bbox_nms"], expected["bbox_nms"], rtol=0, atol=0.01)


@pytest.mark.parametrize("model", MODELS)
def test_the_original_net_in_the_torch_runtime_gives_what_genuine_caffe2_gave(golden: Path, model: str) -> None:
    with TorchRuntime(load_nets(golden / model)) as runtime:
        check(runtime, golden / model)


@pytest.mark.caffe2
@pytest.mark.parametrize("model", MODELS)
def test_the_original_net_in_genuine_caffe2_gives_what_it_gave(golden: Path, model: str) -> None:
    with Caffe2Runtime(load_nets(golden / model)) as runtime:
        check(runtime, golden / model)
