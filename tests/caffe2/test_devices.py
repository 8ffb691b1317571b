"""CUDA nets: every blob on one device, every operator where Caffe2 has a kernel for it, and the CPU net recoverable."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.caffe2_runtime import Caffe2Runtime
from roastery.caffe2.convert import convert
from roastery.caffe2.devices import on_cpu, place_on_cuda
from roastery.caffe2.nets import Nets, load_nets, net_argument
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.errors import ModelFileError
from roastery.export.onnx import load_onnx
from roastery.metadata import NET_ARGUMENTS_KEY

# PyTorch 1.10's caffe2/operators: no REGISTER_CUDA_OPERATOR for these, and no REGISTER_CPU_OPERATOR for the copies.
WITHOUT_CUDA = {
    "BBoxTransform",
    "BoxWithNMSLimit",
    "CollectRpnProposals",
    "DistributeFpnProposals",
    "HeatmapMaxKeypoint",
    "LengthsToSegmentIds",
}
CUDA = caffe2_pb2.DeviceOption(device_type=1, device_id=0)
RUNTIMES = (TorchRuntime, pytest.param(Caffe2Runtime, marks=pytest.mark.caffe2))


def lines(net: caffe2_pb2.NetDef) -> list[str]:
    """Each operator in a line: device, what it writes, type, what it reads."""
    return [
        f"{'gpu' if operator.HasField('device_option') else 'cpu'}: {' '.join(operator.output)}"
        f" = {operator.type} {' '.join(operator.input)}".rstrip()
        for operator in net.op
    ]


def check_devices(nets: Nets) -> None:
    """Follow each blob from device to device, as Caffe2 would."""
    gpu: dict[str, bool] = {}
    for fill in nets.init_net.op:
        gpu[fill.output[0]] = fill.device_option == CUDA
    # What a caller feeds, as the original's wrapper does for the net argument `device`.
    for blob in nets.predict_net.external_input:
        gpu.setdefault(blob, True)
    copied: set[tuple[str, str]] = set()
    for operator in nets.predict_net.op:
        assert operator.device_option in (CUDA, caffe2_pb2.DeviceOption())
        here = operator.device_option == CUDA
        reads = writes = here
        if operator.type in ("CopyGPUToCPU", "CopyCPUToGPU"):
            assert here
            reads, writes = operator.type == "CopyGPUToCPU", operator.type == "CopyCPUToGPU"
            assert (operator.type, operator.input[0]) not in copied, "copied once already"
            copied.add((operator.type, operator.input[0]))
        else:
            assert here == (operator.type not in WITHOUT_CUDA)
        assert all(gpu[blob] == reads for blob in operator.input), operator
        assert not gpu.keys() & set(operator.output), "written twice"
        gpu |= dict.fromkeys(operator.output, writes)
    assert all(gpu[blob] for blob in nets.predict_net.external_output)


def copied(nets: Nets) -> Nets:
    both = Nets(caffe2_pb2.NetDef(), caffe2_pb2.NetDef())
    both.predict_net.CopyFrom(nets.predict_net)
    both.init_net.CopyFrom(nets.init_net)
    return both


def test_copies_stand_around_what_the_gpu_cannot_do_once_a_blob(make_nets: Callable[..., Nets]) -> None:
    nets = make_nets(
        [
            ("Relu", ["data"], ["rois"], {}),
            ("BBoxTransform", ["rois", "deltas", "im_info"], ["boxes", "splits"], {}),
            ("BoxWithNMSLimit", ["rois", "boxes", "splits"], ["score_nms", "bbox_nms"], {}),
            ("Relu", ["bbox_nms"], ["pooled"], {}),
            ("Relu", ["boxes"], ["y"], {}),
            ("HeatmapMaxKeypoint", ["pooled", "bbox_nms"], ["keypoints_out"], {}),
        ],
        inputs=("data", "im_info"),
        outputs=("score_nms", "bbox_nms", "keypoints_out", "y"),
        parameters={"deltas": np.zeros((1, 4), np.float32)},
    )
    place_on_cuda(nets)
    assert lines(nets.predict_net) == [
        "gpu: rois = Relu data",
        "gpu: rois_cpu = CopyGPUToCPU rois",
        "gpu: im_info_cpu = CopyGPUToCPU im_info",
        "cpu: boxes splits = BBoxTransform rois_cpu deltas im_info_cpu",
        "cpu: score_nms_cpu bbox_nms_cpu = BoxWithNMSLimit rois_cpu boxes splits",
        "gpu: score_nms = CopyCPUToGPU score_nms_cpu",
        "gpu: bbox_nms = CopyCPUToGPU bbox_nms_cpu",
        "gpu: pooled = Relu bbox_nms",
        "gpu: boxes_gpu = CopyCPUToGPU boxes",
        "gpu: y = Relu boxes_gpu",
        "gpu: pooled_cpu = CopyGPUToCPU pooled",
        "cpu: keypoints_out_cpu = HeatmapMaxKeypoint pooled_cpu bbox_nms_cpu",
        "gpu: keypoints_out = CopyCPUToGPU keypoints_out_cpu",
    ]
    # A parameter that only the CPU reads is filled there.
    assert lines(nets.init_net) == ["cpu: deltas = GivenTensorFill"]
    check_devices(nets)


def check_there_and_back(nets: Nets) -> None:
    before = copied(nets)
    place_on_cuda(nets)
    check_devices(nets)
    assert on_cpu(nets.predict_net) == before.predict_net
    assert before.predict_net == on_cpu(before.predict_net)


def test_every_blob_of_an_originals_net_is_on_one_device_and_the_cpu_net_comes_back(golden_model: Path) -> None:
    check_there_and_back(load_nets(golden_model))


def test_every_blob_of_our_nets_is_on_one_device_and_the_cpu_net_comes_back(
    demo_model: Path, converted: Callable[[str], Path]
) -> None:
    check_there_and_back(load_nets(converted(demo_model.name)))


@st.composite
def random_nets(draw: st.DrawFn) -> Nets:
    """Nets of operators of either kind that read whatever is there, outputs and parameters anywhere."""
    parameters = draw(st.lists(st.sampled_from(["w", "data_cpu", "1_gpu", "2_cpu"]), unique=True))
    there = ["data", *parameters]
    predict = caffe2_pb2.NetDef(external_input=there)
    for number in range(draw(st.integers(1, 8))):
        reads = draw(st.lists(st.sampled_from(there), min_size=1, max_size=3))
        writes = [f"{number}", f"{number}_"][: draw(st.integers(1, 2))]
        kind = draw(st.sampled_from(["Relu", "Conv", *sorted(WITHOUT_CUDA)]))
        predict.op.add(type=kind, input=reads, output=writes)
        there += writes
    written = [blob for operator in predict.op for blob in operator.output]
    predict.external_output.extend(draw(st.lists(st.sampled_from(written), min_size=1, unique=True)))
    init = caffe2_pb2.NetDef(external_output=parameters)
    for name in parameters:
        init.op.add(type="GivenTensorFill", output=[name])
    return Nets(predict, init)


@given(random_nets())
def test_every_blob_of_any_net_is_on_one_device_and_the_cpu_net_comes_back(nets: Nets) -> None:
    check_there_and_back(nets)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_cuda_net_gives_on_the_cpu_what_the_cpu_net_gives(any_golden: Path, runtime: Any) -> None:
    answers = np.load(any_golden / "caffe2_io.npz")
    inputs = {name: answers[f"0/{name}"] for name in ("data", "im_info")}
    nets = load_nets(any_golden)
    moved = copied(nets)
    place_on_cuda(moved)
    with runtime(nets) as before, runtime(moved) as after:
        expected, given_ = before.run(inputs), after.run(inputs)
    assert list(given_) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(given_[name], array)


def test_a_model_for_the_gpu_is_converted_to_nets_that_are_there(
    demo_model: Path, converted: Callable[[str], Path]
) -> None:
    model = load_onnx(converted(demo_model.name) / "model.onnx")
    arguments = json.loads(model.metadata_props[NET_ARGUMENTS_KEY])
    assert arguments["device"] == "cpu"
    model.metadata_props[NET_ARGUMENTS_KEY] = json.dumps(arguments | {"device": "cuda:0"})
    nets = convert(model)
    assert net_argument(nets.predict_net, "device", "") == "cuda:0"
    check_devices(nets)
    assert {fill.device_option.device_type for fill in nets.init_net.op} == {1}


@pytest.mark.parametrize(("reads", "writes"), [([], ["a"]), (["data"], []), (["data", "data"], ["a"])])
def test_a_copy_of_nothing_or_of_several_is_refused(reads: list[str], writes: list[str]) -> None:
    net = caffe2_pb2.NetDef(external_input=["data"])
    net.op.add(type="CopyGPUToCPU", input=reads, output=writes)
    with pytest.raises(ModelFileError, match="CopyGPUToCPU of the net has"):
        on_cpu(net)
