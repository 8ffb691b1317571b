"""The generated messages: up to date, loadable, and field for field Caffe2's."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.caffe2_runtime import find_caffe2_python

ROOT = Path(__file__).parent.parent.parent
PROTO = "roastery/caffe2/caffe2.proto"
FILES = ("roastery/caffe2/caffe2_pb2.py", "roastery/caffe2/caffe2_pb2.pyi")
GENUINE = """
import sys
from caffe2.proto import caffe2_pb2
sys.stdout.buffer.write(caffe2_pb2.DESCRIPTOR.serialized_pb)
"""


def test_the_generated_files_are_those_of_the_proto(tmp_path: Path) -> None:
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}"]
    subprocess.run([*protoc, f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", PROTO], check=True, cwd=ROOT)
    for file in FILES:
        assert (tmp_path / file).read_text() == (ROOT / file).read_text(), "run `make proto`"


def test_an_unknown_field_survives_a_round_trip() -> None:
    # Field 9 of a NetDef is Caffe2's partition_info, which ours leaves out.
    content = caffe2_pb2.NetDef(name="net").SerializeToString() + bytes([9 << 3 | 2, 3]) + b"abc"
    assert caffe2_pb2.NetDef.FromString(content).SerializeToString() == content


def test_floats_are_read_packed_and_unpacked() -> None:
    number = b"\x00\x00\x80?"
    unpacked = (bytes([5 << 3 | 5]) + number) * 2
    packed = bytes([5 << 3 | 2, 8]) + number * 2
    for content in (unpacked, packed):
        assert list(caffe2_pb2.Argument.FromString(content).floats) == [1.0, 1.0]


def describe(proto: descriptor_pb2.FileDescriptorProto) -> dict[str, tuple[int, int, int, str]]:
    """Message.field to number, label, type and the type's name; Enum.value to its number."""
    found = {}
    for message in proto.message_type:
        for field in message.field:
            found[f"{message.name}.{field.name}"] = (field.number, field.label, field.type, field.type_name)
        for enum in message.enum_type:
            found |= {f"{enum.name}.{value.name}": (value.number, 0, 0, "") for value in enum.value}
    for enum in proto.enum_type:
        found |= {f"{enum.name}.{value.name}": (value.number, 0, 0, "") for value in enum.value}
    return found


@pytest.mark.caffe2
def test_every_field_has_the_number_and_the_type_that_caffe2_gives_it() -> None:
    ours = descriptor_pb2.FileDescriptorProto()
    caffe2_pb2.DESCRIPTOR.CopyToProto(ours)
    done = subprocess.run([find_caffe2_python(), "-I", "-c", GENUINE], check=True, capture_output=True)
    genuine = describe(descriptor_pb2.FileDescriptorProto.FromString(done.stdout))
    mine = describe(ours)
    assert mine
    assert {name: genuine.get(name) for name in mine} == mine
