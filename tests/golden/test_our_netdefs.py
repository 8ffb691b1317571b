"""Our NetDefs on the golden inputs, in both runtimes, against what genuine Caffe2 answered for the original's nets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from roastery.caffe2.caffe2_pb2 import NetDef
from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.nets import load_nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.evaluation.parity import compare_detections

MODELS = ("faster_rcnn_fpn", "keypoint_rcnn_fpn", "mask_rcnn_fpn", "panoptic_fpn", "retinanet_fpn")
INEXACT = {"kps_score", "sem_seg"}
"""What the original upsampled, not as detectron2 does. Ours is held against detectron2 itself elsewhere."""
RUNTIMES = ("torch", pytest.param("caffe2", marks=pytest.mark.caffe2))
PICKLED = "serialized_anchor_generator"
"""Ours has the anchors as numbers instead."""
_RUNTIME_TYPES = {"torch": TorchRuntime, "caffe2": Caffe2Runtime}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("model", MODELS)
def test_our_netdef_gives_what_the_originals_gave(
    golden: Path, converted: Callable[[str], Path], model: str, runtime: str
) -> None:
    nets = load_nets(converted(model))
    answers = np.load(golden / model / "caffe2_io.npz")
    with _RUNTIME_TYPES[runtime](nets) as running:
        for image in range(4):
            outputs = running.run({name: answers[f"{image}/{name}"] for name in ("data", "im_info")})
            prefix = f"{image}/out/"
            expected = {key.removeprefix(prefix): answers[key] for key in answers.files if key.startswith(prefix)}
            exact = [
                {name: array for name, array in side.items() if name not in INEXACT} for side in (expected, outputs)
            ]
            report = compare_detections(*exact)
            assert report.passed, f"image {image}: {report.differences}"
            assert {name: array.shape for name, array in outputs.items()} == {
                name: array.shape for name, array in expected.items()
            }
            assert {name: array.dtype for name, array in outputs.items()} == {
                name: array.dtype for name, array in expected.items()
            }


@pytest.mark.parametrize("model", MODELS)
def test_our_graph_has_the_originals_operators_inputs_and_outputs(
    golden: Path, converted: Callable[[str], Path], model: str
) -> None:
    ours, original = load_nets(converted(model)).predict_net, load_nets(golden / model).predict_net
    assert ours.name == original.name
    assert ours.external_input[:2] == original.external_input[:2] == ["data", "im_info"]
    assert _learned(ours) == _learned(original)
    assert list(ours.external_output) == list(original.external_output)
    original_arguments = {argument.name: argument for argument in original.arg if argument.name != PICKLED}
    our_arguments = {argument.name: argument for argument in ours.arg}
    assert {name: our_arguments[name] for name in original_arguments} == original_arguments


def _learned(net: NetDef) -> int:
    """How many parameters there are without those of upsampling: depthwise kernels, and the original's scales."""
    made_up = {op.input[1] for op in net.op if op.type == "ConvTranspose" and len(op.input) == 2}
    made_up |= {op.input[0] for op in net.op if op.type == "Slice"}
    return len({*net.external_input[2:]} - made_up)
