"""CUDA nets: which operators run on the GPU, and the copies around those that cannot; and the way back to the CPU."""

from typing import Literal

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.nets import Nets
from roastery.errors import ModelFileError

CPU_ONLY = frozenset(
    {
        "BBoxTransform",
        "BoxWithNMSLimit",
        "CollectRpnProposals",
        "DistributeFpnProposals",
        "HeatmapMaxKeypoint",
        "LengthsToSegmentIds",
    }
)
"""Operators without a CUDA kernel in Caffe2 (PyTorch 1.10), of those that our nets have."""
COPIES = {"gpu": "CopyCPUToGPU", "cpu": "CopyGPUToCPU"}
"""The operator that copies to each device."""
CUDA = 1
"""PROTO_CUDA of Caffe2's `DeviceTypeProto`."""
_Device = Literal["cpu", "gpu"]


def place_on_cuda(nets: Nets) -> None:
    """Let a net run on the first GPU, in place.

    The inputs, the outputs, and the parameters that an operator of the GPU reads are there. A blob is copied once,
    however many read the copy; an output of the net that the CPU writes has its name on the GPU. The copies are
    operators of the GPU, as the original made them.

    Args:
        nets: in which each blob is written once, and nothing has a device yet.
    """
    net = nets.predict_net
    taken = {*net.external_input, *(blob for operator in net.op for blob in operator.output)}
    parameters = set(nets.init_net.external_output) - _read_on_gpu(net)
    # What each blob is called on each device that has it.
    names: dict[_Device, dict[str, str]] = {
        "gpu": {blob: blob for blob in net.external_input if blob not in parameters},
        "cpu": {blob: blob for blob in parameters},
    }
    placed: list[caffe2_pb2.OperatorDef] = []
    for operator in net.op:
        device: _Device = "cpu" if operator.type in CPU_ONLY else "gpu"
        here, there = names[device], names["gpu" if device == "cpu" else "cpu"]
        for blob in operator.input:
            if blob not in here:
                here[blob] = _free(f"{blob}_{device}", taken)
                placed.append(_copy(there[blob], here[blob], device))
        returned = [blob for blob in operator.output if device == "cpu" and blob in net.external_output]
        for blob in operator.output:
            here[blob] = _free(f"{blob}_cpu", taken) if blob in returned else blob
        moved = caffe2_pb2.OperatorDef()
        moved.CopyFrom(operator)
        moved.input[:] = [here[blob] for blob in operator.input]
        moved.output[:] = [here[blob] for blob in operator.output]
        placed.append(_on_gpu(moved) if device == "gpu" else moved)
        for blob in returned:
            there[blob] = blob
            placed.append(_copy(here[blob], blob, "gpu"))
    del net.op[:]
    net.op.extend(placed)
    for fill in nets.init_net.op:
        if not parameters.issuperset(fill.output):
            _on_gpu(fill)


def on_cpu(net: caffe2_pb2.NetDef) -> caffe2_pb2.NetDef:
    """A predict net without devices and copies, which gives the same; the net itself where it has none.

    Args:
        net: ours or the original's, in which no blob that is copied is written again.

    Raises:
        ModelFileError: a copy of several blobs, or of none.
    """
    if not any(operator.HasField("device_option") or operator.type in COPIES.values() for operator in net.op):
        return net
    copies = [operator for operator in net.op if operator.type in COPIES.values()]
    for copy in copies:
        if len(copy.input) != 1 or len(copy.output) != 1:
            raise ModelFileError(
                f"a {copy.type} of the net has {len(copy.input)} inputs and {len(copy.output)} outputs"
            )
    found = caffe2_pb2.NetDef()
    found.CopyFrom(net)
    del found.op[:]
    # Of a blob and its copy the one that is an output of the net gives both the name.
    names = {copy.input[0]: copy.output[0] for copy in copies if copy.output[0] in net.external_output}
    for operator in net.op:
        if operator.type in COPIES.values():
            names.setdefault(operator.output[0], names.get(operator.input[0], operator.input[0]))
            continue
        moved = found.op.add()
        moved.CopyFrom(operator)
        moved.ClearField("device_option")
        moved.input[:] = [names.get(blob, blob) for blob in operator.input]
        moved.output[:] = [names.get(blob, blob) for blob in operator.output]
    return found


def _read_on_gpu(net: caffe2_pb2.NetDef) -> set[str]:
    return {blob for operator in net.op if operator.type not in CPU_ONLY for blob in operator.input}


def _copy(source: str, target: str, device: _Device) -> caffe2_pb2.OperatorDef:
    return _on_gpu(caffe2_pb2.OperatorDef(type=COPIES[device], input=[source], output=[target]))


def _on_gpu(operator: caffe2_pb2.OperatorDef) -> caffe2_pb2.OperatorDef:
    operator.device_option.device_type = CUDA
    operator.device_option.device_id = 0
    return operator


def _free(name: str, taken: set[str]) -> str:
    """The name, with as many underscores as make it no other blob's; it is taken from then on."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
