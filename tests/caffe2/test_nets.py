"""The two files of a converted model."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.caffe2_pb2 import Argument, NetDef
from roastery.caffe2.nets import INIT_FILE, PREDICT_FILE, TEXT_FILE, Nets, load_nets, net_argument, save_nets
from roastery.errors import ModelFileError

MakeNets = Callable[..., Nets]


@pytest.fixture
def nets(make_nets: MakeNets) -> Nets:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    made: Nets = make_nets([("FC", ["data", "w", "b"], ["y"], {})], parameters={"w": weight, "b": weight[:, 0]})
    return made


def test_what_is_saved_is_loaded(tmp_path: Path, nets: Nets) -> None:
    save_nets(nets, tmp_path / "new" / "folder")
    assert load_nets(tmp_path / "new" / "folder") == nets


def test_equal_nets_give_equal_bytes(tmp_path: Path, nets: Nets) -> None:
    for folder in ("a", "b"):
        save_nets(
            Nets(caffe2_pb2.NetDef.FromString(nets.predict_net.SerializeToString()), nets.init_net), tmp_path / folder
        )
    for file in (PREDICT_FILE, INIT_FILE, TEXT_FILE):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_text_file_is_the_predict_net(tmp_path: Path, nets: Nets) -> None:
    save_nets(nets, tmp_path)
    assert text_format.Parse((tmp_path / TEXT_FILE).read_text(), NetDef()) == nets.predict_net


def test_saving_leaves_only_whole_files_with_the_usual_rights(tmp_path: Path, nets: Nets) -> None:
    save_nets(nets, tmp_path)
    save_nets(nets, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([PREDICT_FILE, INIT_FILE, TEXT_FILE])
    (tmp_path / "usual").touch()
    usual = stat.S_IMODE((tmp_path / "usual").stat().st_mode)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {usual}


def test_a_net_of_the_original_is_the_same_after_a_round_trip(golden_model: Path, tmp_path: Path) -> None:
    original = load_nets(golden_model)
    save_nets(original, tmp_path)
    assert load_nets(tmp_path) == original


@pytest.mark.parametrize("file", [PREDICT_FILE, INIT_FILE])
def test_a_missing_file_is_named(tmp_path: Path, nets: Nets, file: str) -> None:
    save_nets(nets, tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(ModelFileError, match=rf"{file}: No such file"):
        load_nets(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 100, b"PK\x03\x04 a zip file", b"\xff" * 64, b"\x12\x7f\x01"],
    ids=["empty", "zeros", "zip", "ones", "cut off"],
)
def test_a_file_that_is_no_netdef_is_named(tmp_path: Path, nets: Nets, content: bytes) -> None:
    save_nets(nets, tmp_path)
    (tmp_path / PREDICT_FILE).write_bytes(content)
    with pytest.raises(ModelFileError, match=PREDICT_FILE):
        load_nets(tmp_path)


def test_every_truncation_of_a_net_is_an_error_or_a_net(tmp_path: Path, nets: Nets) -> None:
    save_nets(nets, tmp_path)
    content = (tmp_path / PREDICT_FILE).read_bytes()
    damaged = 0
    for length in range(len(content)):
        (tmp_path / PREDICT_FILE).write_bytes(content[:length])
        try:
            load_nets(tmp_path)
        except ModelFileError:
            damaged += 1
    assert damaged > len(content) / 2


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path, nets: Nets) -> None:
    save_nets(nets, tmp_path)
    content = (tmp_path / PREDICT_FILE).read_bytes()
    (tmp_path / PREDICT_FILE).write_bytes(content.replace(b"data", b"\xff\xfe\xfd\xfc"))
    with pytest.raises(ModelFileError, match="not UTF-8"):
        load_nets(tmp_path)


def test_nets_within_nets_without_end_are_refused(tmp_path: Path, nets: Nets) -> None:
    save_nets(nets, tmp_path)
    content = b""
    for _ in range(500):
        argument = bytes([8 << 3 | 2]) + varint(len(content)) + content
        content = bytes([6 << 3 | 2]) + varint(len(argument)) + argument
    (tmp_path / PREDICT_FILE).write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model\.pb is damaged"):
        load_nets(tmp_path)


def varint(number: int) -> bytes:
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def test_a_net_argument_is_read_as_its_default_is() -> None:
    net = NetDef(
        arg=[
            Argument(name="size_divisibility", i=32),
            Argument(name="device", s=b"cpu"),
            Argument(name="score_threshold", i=1),
            Argument(name="pixel_mean", floats=[1.5, 2.5]),
            Argument(name="whole_mean", ints=[1, 2]),
            Argument(name="empty"),
        ]
    )
    assert net_argument(net, "size_divisibility", 0) == 32
    assert net_argument(net, "device", "") == "cpu"
    assert net_argument(net, "score_threshold", 0.5) == 1.0
    assert net_argument(net, "pixel_mean", [0.0]) == [1.5, 2.5]
    assert net_argument(net, "whole_mean", [0.0]) == [1.0, 2.0]
    assert net_argument(net, "empty", [0.0]) == []
    assert net_argument(net, "absent", [0.0] * 3) == [0.0] * 3


@pytest.mark.parametrize(
    ("argument", "default"),
    [
        (Argument(name="x", s=b"32"), 0),
        (Argument(name="x", f=1.0), 0),
        (Argument(name="x", i=1), ""),
        (Argument(name="x", floats=[1.0]), 0.0),
        (Argument(name="x", floats=[1.0]), [0]),
        (Argument(name="x", strings=[b"a"]), [0.0]),
        (Argument(name="x", i=1), [0]),
    ],
)
def test_a_net_argument_of_another_type_is_an_error(argument: Argument, default: int) -> None:
    with pytest.raises(ModelFileError, match="net argument 'x' holds"):
        net_argument(NetDef(arg=[argument]), "x", default)


@pytest.mark.parametrize("file", [PREDICT_FILE, INIT_FILE])
def test_a_net_that_is_a_pipe_or_a_device_is_refused_before_it_is_opened(tmp_path: Path, nets: Nets, file: str) -> None:
    save_nets(nets, tmp_path)
    (tmp_path / file).unlink()
    os.mkfifo(tmp_path / file)
    with pytest.raises(ModelFileError, match="Is a pipe, a socket or a device, not a file"):
        load_nets(tmp_path)
    (tmp_path / file).unlink()
    (tmp_path / file).symlink_to("/dev/zero")
    with pytest.raises(ModelFileError, match="Is a pipe, a socket or a device, not a file"):
        load_nets(tmp_path)


def test_fields_that_no_net_has_are_not_kept(tmp_path: Path, nets: Nets) -> None:
    save_nets(nets, tmp_path)
    # A group (number 99), which protobuf would keep and write again among an argument's values.
    argument = b"\x9b\x06\x9c\x06" + Argument(name="x", floats=[1.0]).SerializeToString()
    operator = b"\x2a" + bytes([len(argument)]) + argument
    with (tmp_path / PREDICT_FILE).open("ab") as stream:
        stream.write(b"\x12" + bytes([len(operator)]) + operator)
    loaded = load_nets(tmp_path).predict_net.op[-1].arg[0]
    assert loaded.SerializeToString() == Argument(name="x", floats=[1.0]).SerializeToString()
