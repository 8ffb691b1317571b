"""Arguments of an operator or a net: read by name and type, as Caffe2 reads them."""

from collections.abc import Iterable
from typing import Literal

from roastery.caffe2 import caffe2_pb2
from roastery.errors import ModelFileError
from roastery.net_arguments import ArgumentValue

Field = Literal["i", "f", "s", "ints", "floats", "strings"]


class Arguments:
    """The arguments of one operator (or net).

    A name that is not there gives the default. An argument of another type than asked for is an error, as it is in
    Caffe2; which other arguments there are does not matter, as it does not in Caffe2.

    Source: caffe2/utils/proto_utils.cc (ArgumentHelper), PyTorch 1.10.
    """

    def __init__(
        self, owner: str, arguments: Iterable[caffe2_pb2.Argument], operator_type: str = "", output_count: int = 1
    ) -> None:
        """Say whose arguments they are.

        Args:
            owner: how errors name it: "Conv giving '367'".
            operator_type: the operator's type, for what serves several.
            output_count: how many outputs the operator has.

        Raises:
            ModelFileError: two arguments of one name that differ.
        """
        self.owner = owner
        self.operator_type = operator_type
        self.output_count = output_count
        self._arguments: dict[str, caffe2_pb2.Argument] = {}
        for argument in arguments:
            if self._arguments.get(argument.name, argument) != argument:
                raise ModelFileError(f"{owner} has two different arguments {argument.name!r}")
            self._arguments[argument.name] = argument

    def __contains__(self, name: str) -> bool:
        return name in self._arguments

    def holds(self, name: str, field: Field) -> bool:
        """Whether the argument is there with that field set."""
        return name in self._arguments and _fields(self._arguments[name]) == [field]

    def integer(self, name: str, default: int) -> int:
        found = self.find(name, "i")
        return default if found is None else found.i

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self.integer(name, int(default)))

    def number(self, name: str, default: float) -> float:
        found = self.find(name, "f")
        return default if found is None else found.f

    def text(self, name: str, default: str) -> str:
        found = self.find(name, "s")
        return default if found is None else _decode(found.s, f"{self.owner}: argument {name!r}")

    def integers(self, name: str, default: list[int]) -> list[int]:
        found = self.find(name, "ints")
        return list(default) if found is None else list(found.ints)

    def numbers(self, name: str, default: list[float]) -> list[float]:
        found = self.find(name, "floats")
        return list(default) if found is None else list(found.floats)

    def find(self, name: str, field: Field) -> caffe2_pb2.Argument | None:
        """The argument as it stands, if it is there; that `field` and no other is set in it has been checked."""
        argument = self._arguments.get(name)
        if argument is None:
            return None
        fields = _fields(argument)
        # An empty list leaves no field behind.
        if fields == [field] or (not fields and field in ("ints", "floats", "strings")):
            return argument
        raise ModelFileError(
            f"{self.owner}: argument {name!r} holds {' and '.join(fields) or 'nothing'} where {field!r} is expected"
        )


def argument_value(argument: caffe2_pb2.Argument) -> ArgumentValue:
    """An argument's value, whatever its type; empty bytes, numbers and lists as they are.

    Raises:
        ModelFileError: it holds a tensor, a net, nothing or two values, or text that is not UTF-8.
    """
    fields = _fields(argument)
    place = f"argument {argument.name!r}"
    if fields == ["s"]:
        return _decode(argument.s, place)
    if fields == ["strings"]:
        return [_decode(item, place) for item in argument.strings]
    if fields in (["i"], ["f"]):
        return argument.i if fields == ["i"] else argument.f
    if fields in (["ints"], ["floats"], []):
        return list(argument.floats) if fields == ["floats"] else list(argument.ints)
    raise ModelFileError(f"{place} holds {' and '.join(fields)}; only one number, text or list of them is understood")


def _fields(argument: caffe2_pb2.Argument) -> list[str]:
    """Which value fields are set."""
    return [descriptor.name for descriptor, _ in argument.ListFields() if descriptor.name != "name"]


def _decode(text: bytes, place: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{place} is not UTF-8 text") from error
