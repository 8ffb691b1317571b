"""ONNX to NetDef: `model.pb` and `model_init.pb` from `model.onnx`."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.bilinear import expand_bilinear
from roastery.caffe2.devices import place_on_cuda
from roastery.caffe2.nets import Nets
from roastery.caffe2.operators import ArgumentValue, NetOperator, look_up
from roastery.caffe2.passes import run_passes
from roastery.errors import UnsupportedOperator
from roastery.metadata import CUDA_DEVICE, MODULE_KEY, NET_ARGUMENTS_KEY, PLACE_KEY
from roastery.net_arguments import parse_arguments
from roastery.onnx_graph import constant_value
from roastery.places import known_place, named

# The name that the original's nets have: a C++ program may run its net by that name.
NET_NAME = "torch-jit-export_predict"
INIT_NET_NAME = "torch-jit-export_init"
_Found = TypeVar("_Found")
_FILLS = {
    np.dtype(np.float32): "GivenTensorFill",
    np.dtype(np.int32): "GivenTensorIntFill",
    np.dtype(np.int64): "GivenTensorInt64Fill",
}


def convert(model: ir.Model) -> Nets:
    """Convert an ONNX model.

    Args:
        model: as `export.onnx` gives it. The passes change it in place. Its metadata holds the net's arguments
            (size_divisibility, device, meta_architecture, ...).

    Returns:
        The predict net, whose external inputs are the graph's inputs and then the parameters in the order of their use,
        and the init net, which fills the parameters. For the device "cuda:0" both are placed there (`devices`).

    Raises:
        UnsupportedOperator: an operator without a Caffe2 form, with the module that it came from and, where it is the
            user's own, the line of its source.
        ModelFileError: metadata that no export of ours has.
    """
    graph = model.graph
    run_passes(graph)
    expand_bilinear(graph)
    predict = caffe2_pb2.NetDef(name=NET_NAME)
    initial = caffe2_pb2.NetDef(name=INIT_NET_NAME)
    predict.external_input.extend(_name(value) for value in graph.inputs)
    filled: set[str] = set()
    # All first: of what Caffe2 lacks the shape is not known, and then what reads it would be named in its place.
    entries = [_at_place(node, look_up) for node in graph]
    for node, entry in zip(graph, entries, strict=True):
        operator = _at_place(node, entry)
        predict.op.append(_operator_def(operator, node.metadata_props.get(MODULE_KEY, "")))
        for value in node.inputs:
            name = _name(value) if value is not None else ""
            array = constant_value(value) if name in operator.inputs and name not in filled else None
            if array is not None:
                filled.add(name)
                predict.external_input.append(name)
                _fill(initial, name, array)
    predict.external_output.extend(_name(value) for value in graph.outputs)
    initial.external_output.extend(predict.external_input[len(graph.inputs) :])
    net_arguments = parse_arguments(model.metadata_props.get(NET_ARGUMENTS_KEY, "{}"))
    predict.arg.extend(_argument(name, value) for name, value in net_arguments.items())
    nets = Nets(predict, initial)
    if net_arguments.get("device") == CUDA_DEVICE:
        place_on_cuda(nets)
    return nets


def _at_place(node: ir.Node, function: Callable[[ir.Node], _Found]) -> _Found:
    """What a function gives of a node; where it refuses, the module and the line of the user's source are said too."""
    try:
        return function(node)
    except UnsupportedOperator as error:
        module = node.metadata_props.get(MODULE_KEY, "")
        place = known_place(node.metadata_props.get(PLACE_KEY))
        raise UnsupportedOperator(f"{named(module, place)}: {error}") from error


def _name(value: ir.Value) -> str:
    if value.name is None:
        raise UnsupportedOperator("the ONNX graph has a value without a name; export it again")
    return value.name


def _operator_def(operator: NetOperator, module: str) -> caffe2_pb2.OperatorDef:
    return caffe2_pb2.OperatorDef(
        type=operator.type,
        # Netron and Caffe2's own errors show the name.
        name=module,
        input=operator.inputs,
        output=operator.outputs,
        arg=[_argument(name, value) for name, value in operator.arguments.items()],
    )


def _argument(name: str, value: ArgumentValue) -> caffe2_pb2.Argument:
    if isinstance(value, str):
        return caffe2_pb2.Argument(name=name, s=value.encode())
    if isinstance(value, float):
        return caffe2_pb2.Argument(name=name, f=value)
    if isinstance(value, int):
        return caffe2_pb2.Argument(name=name, i=value)
    if all(isinstance(item, int) for item in value):
        return caffe2_pb2.Argument(name=name, ints=[int(item) for item in value])
    return caffe2_pb2.Argument(name=name, floats=value)


def _fill(initial: caffe2_pb2.NetDef, name: str, array: NDArray[np.generic]) -> None:
    """Append the operator that fills a parameter."""
    if array.dtype not in _FILLS:
        raise UnsupportedOperator(f"parameter {name!r}: Caffe2 has no fill for {array.dtype}; use float32")
    # Built where it stays: a message that is appended is copied, and these hold the weights.
    fill = initial.op.add(type=_FILLS[array.dtype], output=[name])
    fill.arg.add(name="shape", ints=array.shape)
    values = fill.arg.add(name="values")
    if array.dtype == np.float32:
        # Packed floats are the array's own bytes: parsing them is a copy; a Python list would be 44 million objects.
        floats = np.ascontiguousarray(array, dtype="<f4").tobytes()
        values.MergeFromString(_length_delimited(caffe2_pb2.Argument.FLOATS_FIELD_NUMBER, floats))
    else:
        values.ints.extend(array.ravel().tolist())


def _length_delimited(field_number: int, payload: bytes) -> bytes:
    """A length-delimited field as protobuf writes it: key, length as varint, bytes."""
    header = bytearray([field_number << 3 | 2])
    length = len(payload)
    while length > 0x7F:
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return b"".join((header, payload))
