"""Our NetDefs on the golden inputs, in both runtimes, against what genuine Caffe2 answered for the original's nets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.nets import load_nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.evaluation.parity import compare_detections

MODELS = ("faster_rcnn_fpn", "mask_rcnn_fpn")
RUNTIMES = ("torch", pytest.param("caffe2", marks=pytest.mark.caffe2))
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
            report = compare_detections(expected, outputs)
            assert report.passed, f"image {image}: {report.differences}"
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
    assert len(ours.external_input) == len(original.external_input)
    assert list(ours.external_output) == list(original.external_output)
    original_arguments = {argument.name: argument for argument in original.arg}
    our_arguments = {argument.name: argument for argument in ours.arg}
    assert {name: our_arguments[name] for name in original_arguments} == original_arguments
