"""A converted model's two NetDefs and their files."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.arguments import argument_value
from roastery.errors import ModelFileError
from roastery.net_arguments import ArgumentValue, NetArguments, argument_of, batch_of
from roastery.regular_file import require_regular
from roastery.whole_file import write_whole

PREDICT_FILE = "model.pb"
INIT_FILE = "model_init.pb"
TEXT_FILE = "model.pbtxt"

_Value = TypeVar("_Value", int, float, str, list[int], list[float])


@dataclass(frozen=True)
class Nets:
    """The graph, and what fills its parameters."""

    predict_net: caffe2_pb2.NetDef
    init_net: caffe2_pb2.NetDef


def load_nets(directory: Path) -> Nets:
    """Read `model.pb` and `model_init.pb`, ours or the original converter's.

    Raises:
        ModelFileError: a file that is missing, unreadable or not a NetDef.
    """
    return Nets(load_net(directory / PREDICT_FILE), load_net(directory / INIT_FILE))


def load_net(file: Path) -> caffe2_pb2.NetDef:
    """Read one of the two files.

    Raises:
        ModelFileError: as `load_nets`.
    """
    try:
        require_regular(file)
        content = file.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{file}: {error.strerror or error}; a converted model is a folder with it") from error
    try:
        net = caffe2_pb2.NetDef.FromString(content)
    except DecodeError as error:
        raise ModelFileError(f"{file} is damaged or not a NetDef: {error}") from error
    # Nothing reads what no NetDef has.
    net.DiscardUnknownFields()
    # protobuf takes an empty file, and reads a bare ONNX model's bytes as unknown fields.
    if not net.op:
        raise ModelFileError(f"{file} is not a NetDef: it has no operator")
    if not all(isinstance(text, str) for text in _texts(net)):
        raise ModelFileError(f"{file} is damaged: a name in it is not UTF-8 text")
    return net


def save_nets(nets: Nets, directory: Path) -> None:
    """Write `model.pb`, `model_init.pb` and `model.pbtxt` (the graph as text); equal nets give equal bytes.

    The folder is made where it is missing. Each file is there whole or not at all.
    """
    directory.mkdir(parents=True, exist_ok=True)
    text = text_format.MessageToString(nets.predict_net, as_utf8=True)
    write_whole(directory / INIT_FILE, nets.init_net.SerializeToString(deterministic=True))
    write_whole(directory / TEXT_FILE, text.encode())
    write_whole(directory / PREDICT_FILE, nets.predict_net.SerializeToString(deterministic=True))


def batch_size(net: caffe2_pb2.NetDef) -> int:
    """How many images a predict net takes at once.

    Raises:
        ModelFileError: its argument is no whole number.
    """
    return batch_of(arguments_of(net))


def net_argument(net: caffe2_pb2.NetDef, name: str, default: _Value) -> _Value:
    """The value of a net's argument; the default where there is none.

    Raises:
        ModelFileError: the argument is of another type than the default (a whole number passes for a float).
    """
    return argument_of(arguments_of(net), name, default)


def arguments_of(net: caffe2_pb2.NetDef) -> NetArguments:
    """What a net says of itself, by name."""
    return _ArgumentsOfNet(net)


class _ArgumentsOfNet(Mapping[str, ArgumentValue]):
    """The arguments as they lie in the message: each is read when it is asked for, and of one name the first."""

    def __init__(self, net: caffe2_pb2.NetDef) -> None:
        self._net = net

    def __getitem__(self, name: str) -> ArgumentValue:
        for argument in self._net.arg:
            if argument.name == name:
                return argument_value(argument)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(argument.name == name for argument in self._net.arg)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(argument.name for argument in self._net.arg))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _texts(net: caffe2_pb2.NetDef) -> Iterable[object]:
    """Every text that is read as one; protobuf gives bytes where it is not UTF-8."""
    yield net.name
    yield from net.external_input
    yield from net.external_output
    yield from (argument.name for argument in net.arg)
    for operator in net.op:
        yield from (operator.type, operator.name, operator.engine, *operator.input, *operator.output)
        yield from (argument.name for argument in operator.arg)
