"""Arguments are read by name and type, as Caffe2 reads them."""

import pytest

from roastery.caffe2.arguments import Arguments, argument_value
from roastery.caffe2.caffe2_pb2 import Argument, NetDef
from roastery.errors import ModelFileError


def read(*arguments: Argument) -> Arguments:
    return Arguments("Conv giving 'y'", arguments)


def test_a_missing_argument_is_its_default() -> None:
    arguments = read()
    assert arguments.integer("i", 7) == 7
    assert arguments.number("f", 0.5) == 0.5
    assert arguments.text("s", "NCHW") == "NCHW"
    assert arguments.integers("ints", [1, 2]) == [1, 2]
    assert arguments.numbers("floats", [0.5]) == [0.5]
    assert arguments.flag("b", True)
    assert "i" not in arguments


def test_each_type_is_read() -> None:
    arguments = read(
        Argument(name="i", i=-3),
        Argument(name="f", f=0.25),
        Argument(name="s", s="é".encode()),
        Argument(name="ints", ints=[1, -2]),
        Argument(name="floats", floats=[0.5]),
        Argument(name="b", i=0),
    )
    assert arguments.integer("i", 0) == -3
    assert arguments.number("f", 0) == 0.25
    assert arguments.text("s", "") == "é"
    assert arguments.integers("ints", []) == [1, -2]
    assert arguments.numbers("floats", []) == [0.5]
    assert not arguments.flag("b", True)


def test_an_empty_list_is_a_list_of_either_kind() -> None:
    arguments = read(Argument(name="empty"))
    assert arguments.integers("empty", [1]) == []
    assert arguments.numbers("empty", [1.0]) == []


@pytest.mark.parametrize(
    "argument",
    [
        Argument(name="group", f=1.0),
        Argument(name="group", s=b"1"),
        Argument(name="group", ints=[1]),
        Argument(name="group", i=1, f=1.0),
        Argument(name="group"),
        Argument(name="group", n=NetDef(name="x")),
    ],
)
def test_an_argument_of_another_type_is_named(argument: Argument) -> None:
    with pytest.raises(ModelFileError, match=r"Conv giving 'y': argument 'group' holds .* where 'i' is expected"):
        read(argument).integer("group", 1)


def test_two_arguments_of_one_name_must_agree() -> None:
    same = Argument(name="group", i=2)
    assert read(same, same).integer("group", 1) == 2
    with pytest.raises(ModelFileError, match="two different arguments 'group'"):
        read(same, Argument(name="group", i=3))


def test_text_that_is_not_utf8_is_named() -> None:
    with pytest.raises(ModelFileError, match="'order' is not UTF-8"):
        read(Argument(name="order", s=b"\xff")).text("order", "NCHW")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        (Argument(name="x", i=0), 0),
        (Argument(name="x", f=0.5), 0.5),
        (Argument(name="x", s=b""), ""),
        (Argument(name="x", ints=[1, 2]), [1, 2]),
        (Argument(name="x", floats=[0.5]), [0.5]),
        (Argument(name="x", strings=[b"a", b"b"]), ["a", "b"]),
        (Argument(name="x"), []),
    ],
)
def test_a_value_is_taken_as_it_is(argument: Argument, value: object) -> None:
    assert argument_value(argument) == value
    assert type(argument_value(argument)) is type(value)


def test_a_value_that_is_a_net_is_not_understood() -> None:
    with pytest.raises(ModelFileError, match="'x' holds n;"):
        argument_value(Argument(name="x", n=NetDef(name="inner")))
